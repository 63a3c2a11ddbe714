"""Every mutant, in the order of `bin/mutants`."""

from tests.mutants import map_faults, raft_faults, store_faults
from tests.mutants.mutant import Mutant

MUTANTS: tuple[Mutant, ...] = (
    *raft_faults.VOTES,
    *raft_faults.LEASES,
    *raft_faults.REPLICATION,
    *raft_faults.MEMBERS,
    *store_faults.REQUESTS,
    *store_faults.DISK,
    *store_faults.MEMBERS,
    *store_faults.SNAPSHOTS,
    *map_faults.MAP,
    *map_faults.ROUTING,
    *map_faults.TURN,
)
