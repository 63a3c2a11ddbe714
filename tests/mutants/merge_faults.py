"""Faults in merges: what the target takes over, what a frozen shard still does, on whose word it goes."""

from tests.mutants.mutant import Edit, Mutant

_MACHINE = "zkv/core/shard/machine.py"
_SESSIONS = "zkv/core/shard/sessions.py"
_SHARD = "tests/core/shard/test_merge.py"
_SCENARIOS = "tests/scenarios/test_scenarios.py"

MERGES = (
    Mutant(
        "a frozen replica waits for its target's word when it has had it",
        "23",
        "its shard has gone on without it and is part of another: it stays for ever",
        (Edit("zkv/core/node/mergers.py", "if self._released.get(replica) == frozen.number:", "if False:"),),
        seeds=0,
        tests=("tests/core/node/test_mergers.py",),
        why="a merge must be abandoned, and the next one done, while a voter of the source is away: one seed in 1,000",
    ),
    Mutant(
        "sessions are not united by a merge",
        "12",
        "what the source has done is done again when it is retried",
        (Edit(_MACHINE, "self.sessions.unite(absorbed.sessions, absorbed.floor)", "self.sessions.unite({}, b'')"),),
        elastic=True,
        seeds=100,
        tests=(_SHARD,),
    ),
    Mutant(
        "a lease is served after the freeze",
        "8",
        "a leader whose log holds it answers what the target has overwritten since",
        (
            Edit(
                "zkv/core/raft/log.py",
                "frozenset({int(EntryKind.SPLIT), int(EntryKind.FREEZE), int(EntryKind.MERGE)})",
                "frozenset({int(EntryKind.SPLIT), int(EntryKind.MERGE)})",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="the target must have been written to while the freeze is committed, and not applied at an old leader",
    ),
    Mutant(
        "a frozen shard answers reads",
        "23",
        "what the target has written since is not seen",
        (
            Edit(
                "zkv/core/node/refusals.py",
                "if machine.merging.state.frozen is not None:",
                "if machine.merging.state.frozen is not None and hasattr(group, 'operations'):",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="clients hear of a merge at once, and its source goes soon after",
    ),
    Mutant(
        "a frozen shard applies writes",
        "23",
        "they are in neither shard once the merge is committed",
        (
            Edit(
                _MACHINE,
                "        if self.merging.state.frozen is not None:\n            return Refused",
                "        if False:\n            return Refused",
            ),
        ),
        elastic=True,
        seeds=200,
        tests=(_SHARD,),
    ),
    Mutant(
        "a frozen shard forgets sessions",
        "23",
        "what its target asks for changes while it is carried",
        (Edit(_MACHINE, "if self.merging.state.frozen is None:  # nothing", "if True:  # nothing"),),
        seeds=0,
        tests=(_SHARD,),
        why="too many clients must come within the moment of a merge",
    ),
    Mutant(
        "what a merge has brought so far is missing from the snapshot",
        "20",
        "a voter that got a snapshot amid a merge goes on without the rows that came before it",
        (
            Edit(
                "zkv/core/node/transfers.py",
                "brought=merging.absorbing.space if merging.absorbing is not None else 0,",
                "brought=0,",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="a merge takes moments, and a voter must need its snapshot right then",
    ),
    Mutant(
        "a snapshot waits for the end of a merge",
        "23",
        "a merge that needs the voter, which needs the snapshot, never ends",
        (
            Edit(
                "zkv/core/node/transfers.py",
                "            self._start(hosted, member, now_ms)\n",
                "            machine = hosted.machine\n"
                "            if machine is not None and machine.merge_state().absorbing is not None:\n"
                "                self._wanted[hosted.replica.id, member.replica] = (hosted, member)\n"
                "            else:\n"
                "                self._start(hosted, member, now_ms)\n",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="a merge takes moments, and a voter must need its snapshot right then",
    ),
    Mutant(
        "the version counter is not raised by a merge",
        "15",
        "a condition meets a version twice",
        (Edit(_MACHINE, "self.counter = max(self.counter, absorbed.counter)", "pass"),),
        elastic=True,
        seeds=100,
        tests=(_SHARD,),
    ),
    Mutant(
        "the floor after a merge is not the greater one",
        "13",
        "who was forgotten by the source passes for a new client, and is applied again",
        (Edit(_SESSIONS, "self.floor = max(self.floor, floor)\n", "pass\n"),),
        seeds=0,
        tests=(_SHARD,),
        why="sessions must be forgotten by one of the two alone, and one of them be retried",
    ),
    Mutant(
        "what only one of two merged shards remembers of a client counts as all of it",
        "13",
        "what the other had done, and forgotten, is done again",
        (Edit(_SESSIONS, "if one not in records and one[:BIRTH_BYTES] <= floor]", "if False]"),),
        seeds=0,
        tests=(_SHARD,),
        why="sessions must be forgotten by one of the two alone, and one of them be retried",
    ),
    Mutant(
        "the source deletes itself before the commit",
        "23",
        "its rows are gone when the target abandons",
        (
            Edit(
                "zkv/core/shard/merge.py",
                "    if number in state.merged:\n        return True\n",
                "    if number in state.merged or (state.absorbing and state.absorbing.merge.number == number):\n"
                "        return True\n",
            ),
        ),
        seeds=0,
        tests=(_SHARD,),
        why="a replica first asks when a merge takes a quarter of a second, and most end sooner",
    ),
    Mutant(
        "the source serves again before its merge is abandoned",
        "23",
        "two shards have its keys when the target commits",
        (
            Edit(
                "zkv/core/shard/merge.py",
                "if is_open or is_forgotten or info.range_version <= target_version:",
                "if is_forgotten or info.range_version < target_version:",
            ),
        ),
        seeds=0,
        tests=(_SHARD,),
        why="a replica first asks when a merge takes a quarter of a second, and most end sooner",
    ),
    Mutant(
        "what comes of the source lies in the space of the target",
        "20",
        "the source's own drop takes it along, for they shared the space",
        (
            Edit(
                "zkv/core/node/host.py",
                "machine.after_merge_entry(self.new_space)",
                "machine.after_merge_entry(lambda: machine.session_space)",
            ),
        ),
        elastic=True,
        tests=(_SCENARIOS,),
    ),
    Mutant(
        "a merged shard is shown beside its source",
        "24",
        "two shards of the map have the same keys",
        (Edit("zkv/core/cluster/parting.py", "draft.drop_shard(merge.merge.source)", "pass"),),
        elastic=True,
        tests=("tests/core/cluster/test_merges.py",),
    ),
    Mutant(
        "a merge is begun whoever would not understand it",
        "16",
        "a node of the version before ends at an entry that it does not know",
        (
            Edit(
                "zkv/core/node/mergers.py",
                "wrong = wrong or self._not_understood(hosted, merge)",
                "pass",
            ),
        ),
        seeds=0,
        tests=("tests/core/node/test_versions.py",),
        why="all processes of the simulator are of one version",
    ),
    Mutant(
        "neighbours that were cold for a moment are merged",
        "cooling",
        "shards are merged at night and split in the morning",
        (
            Edit(
                "zkv/core/cluster/cooling.py",
                "if now_ms - since_ms >= state.bounds.cold_ms:",
                "if now_ms >= since_ms:",
            ),
        ),
        seeds=0,
        tests=("tests/core/cluster/test_cooling.py",),
        why="a run takes seconds, and nobody counts rows in it",
    ),
)
