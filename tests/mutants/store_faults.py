"""Faults in requests and their one effect, in replicas that come and go, and in snapshots."""

from tests.mutants.mutant import Edit, Mutant

_SCENARIOS = "tests/scenarios/test_scenarios.py"
_MACHINE = "zkv/core/shard/machine.py"
_SESSIONS = "zkv/core/shard/sessions.py"
_SNAPSHOT = "zkv/core/shard/snapshot_rows.py"
_HOST = "zkv/core/node/host.py"
_RESIDENTS = "zkv/core/node/residents.py"
_NODE = "zkv/core/node/node.py"
_SERVICE = "zkv/core/node/service.py"
_TRANSFERS = "zkv/core/node/transfers.py"

REQUESTS = (
    Mutant(
        "a batch remembered as one",
        "12",
        "a retry that is cut differently gets another operation's result",
        (Edit(_MACHINE, "result = session.result(sequence)", "result = session.result(group.first)"),),
    ),
    Mutant(
        "no deduplication",
        "12",
        "a retry is applied again",
        (Edit(_MACHINE, "if group.first > session.highest:", "if True:"),),
    ),
    Mutant(
        "results are not written",
        "12",
        "a retry after a restart is applied again",
        (
            Edit(
                _MACHINE,
                "changes[session_key(self.session_space, client)] = records.encode(session.record())",
                "pass",
            ),
        ),
    ),
    Mutant(
        "requests below the window are applied",
        "12",
        "a copy of a request that comes late is applied again",
        (Edit(_MACHINE, "if group.first < session.lowest or ", "if "),),
    ),
    Mutant(
        "eviction does not raise the floor",
        "13",
        "a forgotten client's retry is applied again",
        (
            Edit(
                _SESSIONS,
                "self.floor = max([self.floor, *(client[:BIRTH_BYTES] for client in known)])",
                "assert self.floor is not None",
            ),
        ),
        seeds=100,
        tests=("tests/core/shard/test_machine.py",),
    ),
    Mutant(
        "range not checked when applied",
        "14",
        "a put behind a split writes into the other half",
        (
            Edit(
                _MACHINE,
                "if group.range_version != self.info.range_version:",
                "if False:",
            ),
        ),
        elastic=True,
    ),
    Mutant(
        "a delete resets the version",
        "15",
        "if_version meets a number twice",
        (
            Edit(
                _MACHINE,
                "return Deleted(stored is not None, version)",
                "self.counter = found\n            return Deleted(stored is not None, version)",
            ),
        ),
    ),
    Mutant(
        "conditions do not see their own entry",
        "12",
        "two writes of one turn both find the version that they ask for",
        (
            Edit(
                _MACHINE,
                "stored = changes[key] if key in changes else self._rows.get(key)",
                "stored = self._rows.get(key)",
            ),
        ),
    ),
    Mutant(
        "follower answers a linearizable read",
        "8",
        "a read goes back in time",
        (
            Edit(
                _SERVICE,
                "                and group.any_replica\n",
                "",
            ),
        ),
    ),
    Mutant(
        "answer for another leader's entry at the same index",
        "Raft 5.3",
        "a write that was overwritten is acknowledged",
        (
            Edit(
                _SERVICE,
                "if not writes or term != entry.term:",
                "if not writes:",
            ),
            Edit(
                _SERVICE,
                "if queue.proposed and (hosted is None or hosted.replica.role is not Role.LEADER):",
                "if queue.proposed and hosted is None:",
            ),
        ),
    ),
    Mutant(
        "leadership lost called no effect",
        "17",
        "a write is called undone and is applied by the next leader",
        (Edit(_SERVICE, "self._lost(write, EFFECT_UNKNOWN)", "self._lost(write, EFFECT_NONE)"),),
    ),
)

MEMBERS = (
    Mutant(
        "messages for another incarnation are taken",
        "1",
        "a node with an empty disk answers for the one that it was",
        (
            Edit(
                _NODE,
                "if frame.cluster != self.cluster or frame.incarnation != self.identity.incarnation:",
                "if frame.cluster != self.cluster:",
            ),
        ),
    ),
    Mutant(
        "an empty node votes",
        "1, 22",
        "a node with an empty disk helps to elect a leader that lacks what it had acknowledged",
        (
            Edit(
                _NODE,
                "if frame.cluster != self.cluster or frame.incarnation != self.identity.incarnation:",
                "if frame.cluster != self.cluster:",
            ),
            Edit(
                _HOST,
                "if hosted is None and isinstance(message, AppendRequest):",
                "if hosted is None and isinstance(message, AppendRequest | VoteRequest):",
            ),
        ),
    ),
    Mutant(
        "tombstones are not minded",
        "22",
        "a late message brings a destroyed replica back",
        (
            Edit(
                _RESIDENTS,
                "return replica <= max(self._tombstones.get(shard, ()), default=0)",
                "return False",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="replicas die with their table or their disk; what comes late finds an id that leads nowhere",
    ),
    Mutant(
        "tombstones are not written",
        "22",
        "a late message brings a destroyed replica back after a restart",
        (
            Edit(
                _RESIDENTS,
                'changes[numbered_key(b"t", hosted.shard) + replica.to_bytes(8, "big")] = b""',
                "pass",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="the same",
    ),
)

SNAPSHOTS = (
    Mutant(
        "dedup table missing from the snapshot",
        "12, 20",
        "a retry at a replica that came by snapshot is applied again",
        (
            Edit(
                _SNAPSHOT,
                ' + [(SESSION, numbered_range(b"s", sessions))]\n',
                "\n",
            ),
        ),
    ),
    Mutant(
        "session floor missing from the snapshot",
        "13",
        "a forgotten client's retry is applied at a replica that came by snapshot",
        (Edit(_TRANSFERS, "            floor=floor,\n", '            floor=b"\\0" * 6,\n'),),
    ),
    Mutant(
        "version counter missing from the snapshot",
        "15",
        "versions are given twice",
        (Edit(_TRANSFERS, "            counter=counter,\n", "            counter=0,\n"),),
    ),
    Mutant(
        "a snapshot fills the space in use",
        "20",
        "rows that were deleted since stay, and the state is torn while the rows arrive",
        (
            Edit(
                _TRANSFERS,
                "        space = self._host.new_space()\n",
                "        there = self._host.replica(offer.target)\n"
                "        live = there.machine if there is not None else None\n"
                "        space = live.pieces.space if live is not None else self._host.new_space()\n",
            ),
            Edit(
                _RESIDENTS,
                "        if hosted.machine is not None:\n            self._drop_state(hosted.machine)\n"
                "        self.drafts.end(replica.id, changes)\n",
                "        self.drafts.end(replica.id, changes)\n",
            ),
        ),
        seeds=80,
    ),
    Mutant(
        "a restart deletes what is written next",
        "20",
        "a merge that is applied anew loses the rows that it brings",
        (
            Edit(
                "zkv/core/node/residents.py",
                'named = [(numbered_key(b"r", to_come), b"s"), (numbered_key(b"s", to_come), b"t")]',
                "named: list[tuple[bytes, bytes]] = []",
            ),
        ),
        seeds=0,
        tests=("tests/core/node/test_replicas_that_go.py",),
        why="a node must die right after a merge, with something left of a drop: once in some hundred runs",
    ),
    Mutant(
        "who wants no snapshot is asked from the very beginning",
        "21",
        "a voter that holds what is not known to be committed is sent the same snapshot for ever",
        (
            Edit(
                "zkv/core/raft/replica.py",
                "self._after_snapshot(peer, self.first_index, paused=True)",
                "self._after_snapshot(peer, 1, paused=True)",
            ),
        ),
        seeds=0,
        tests=("tests/scenarios/test_scenarios.py",),
        why="late entries must overtake the snapshot, and the word that they did be lost",
    ),
    Mutant(
        "a snapshot that the log holds is installed",
        "21",
        "entries behind it that were acknowledged are gone from the disk",
        (Edit("zkv/core/raft/state.py", " and not self._log.holds(snapshot)", ""),),
        seeds=0,
        tests=(
            "tests/core/raft/test_replica.py",
            _SCENARIOS,
        ),
        why="entries that overtake the snapshot which was to replace them",
    ),
    Mutant(
        "a snapshot that entries have overtaken is installed",
        "21",
        "entries behind it that were acknowledged are gone from the disk",
        (
            Edit(
                _TRANSFERS,
                "if not self._host.touch(hosted).wants_snapshot(EntryId(offer.index, offer.index_term)):\n"
                "            self._drop(incoming)",
                "if False:\n            self._drop(incoming)",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="entries must arrive between the first chunk and the last: met once, in some 1,600 seeds",
    ),
    Mutant(
        "snapshot answered before its reset record is on disk",
        "21",
        "the leader counts a copy that a crash takes back",
        (
            Edit(
                _RESIDENTS,
                "self.pipeline.then(lambda: self._live(hosted, machine, then))",
                "self._live(hosted, machine, then)",
            ),
        ),
        seeds=0,
        tests=(_SCENARIOS,),
        why="harmless by itself: the rows are on disk, and an engine ahead of its log restarts the log (rule 21)",
    ),
    Mutant(
        "the flush of a log before the snapshot counts",
        "21",
        "entries that the reset record voids are acknowledged",
        (Edit(_RESIDENTS, "        self.pipeline.forget(replica.id)\n", ""),),
        seeds=0,
        tests=(_SCENARIOS,),
        why="the mark names an entry that the new log does not hold, so it is refused a second time",
    ),
    Mutant(
        "a snapshot is not pinned",
        "20",
        "rows of different moments arrive together",
        (
            Edit(
                _SNAPSHOT,
                "self._scans = [(kind, rows.scan(start, end)) for kind, (start, end) in reversed(spans)]",
                "late = lambda span: (row for start, end in [span] for row in rows.scan(start, end))\n"
                "        self._scans = [(kind, late(span)) for kind, span in reversed(spans)]",
            ),
        ),
    ),
)
