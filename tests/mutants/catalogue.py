"""Every mutant, in the order of `bin/mutants`."""

from tests.mutants import (
    disk_faults,
    draft_faults,
    even_faults,
    group_faults,
    log_faults,
    map_faults,
    merge_faults,
    move_faults,
    outgrown_faults,
    raft_faults,
    split_faults,
    store_faults,
)
from tests.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *raft_faults.VOTES,
    *raft_faults.LEASES,
    *raft_faults.SLEEP,
    *log_faults.REPLICATION,
    *log_faults.MEMBERS,
    *store_faults.REQUESTS,
    *disk_faults.DISK,
    *store_faults.MEMBERS,
    *store_faults.SNAPSHOTS,
    *draft_faults.DRAFTS,
    *map_faults.MAP,
    *move_faults.MOVES,
    *split_faults.SPLITS,
    *outgrown_faults.OUTGROWN,
    *merge_faults.MERGES,
    *even_faults.EVENNESS,
    *group_faults.GROUP,
    *map_faults.ROUTING,
    *map_faults.TURN,
)
