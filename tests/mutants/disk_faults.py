"""Faults in what goes to disk and what a restart finds there."""

from tests.mutants.mutant import Edit, Mutant

_HOST = "zkv/core/node/host.py"
_RESIDENTS = "zkv/core/node/residents.py"
_REPLAY = "zkv/storage/replay.py"
_MEMTABLE = "zkv/storage/memtable.py"

DISK = (
    Mutant(
        "a checkpoint forgets a replica whose death is not on disk yet",
        "5",
        "after a crash the engine has a replica of which the log knows nothing: the node refuses to start",
        (
            Edit(
                "zkv/server/store.py",
                "if self._engine_flush is not None and not self._host_wants_flush and self._host_flush is None:",
                "if self._engine_flush is not None:",
            ),
        ),
        seeds=0,
        tests=("tests/server/test_store.py",),
        why="the simulator has a disk of its own, which minds it, too",
    ),
    Mutant(
        "what is discarded goes before it is written",
        "20",
        "rows of a replica that is gone come back, and stay",
        (
            Edit(
                "zkv/storage/memtable.py",
                "elif self._discards and self._discards[0][0] <= self._written:",
                "elif self._discards:",
            ),
        ),
        seeds=0,
        tests=("tests/storage/test_memtable.py",),
        why="the simulator's engine stands alone",
    ),
    Mutant(
        "engine flushed between the pieces of a generation",
        "3",
        "a crash leaves half a turn: an increment is applied again on top of itself",
        (
            Edit(
                _MEMTABLE,
                "        if self._queue:\n            is_hurried",
                "        if self._queue and self._flushed < self._wanted and self._flushing is None:\n"
                "            self._flushing = (self._written, self._executor.submit(self._engine.flush))\n"
                "        elif self._queue:\n            is_hurried",
            ),
        ),
        seeds=0,
        tests=("tests/storage/test_memtable.py",),
        why="the simulator's engine stands alone",
    ),
    Mutant(
        "a piece is written beside the engine's flush",
        "3",
        "a crash leaves half a turn",
        (
            Edit(
                _MEMTABLE,
                "if not wait and not future.done():\n            return False",
                "if not wait and not future.done():\n            return True",
            ),
        ),
        seeds=0,
        tests=("tests/storage/test_memtable.py",),
        why="the simulator's engine stands alone",
    ),
    Mutant(
        "a checkpoint waits only for what is fresh",
        "5",
        "the log goes while rows are on their way to the engine",
        (
            Edit(
                _MEMTABLE,
                "self._wanted = self._number if self._fresh.rows else self._number - 1",
                "self._wanted = self._number if self._fresh.rows else self._wanted",
            ),
        ),
        seeds=0,
        tests=("tests/storage/test_memtable.py",),
        why="the simulator's engine stands alone",
    ),
    Mutant(
        "promises leave before the flush",
        "7",
        "whatever was acknowledged is lost with the power",
        (
            Edit(
                _HOST,
                "if not self.pipeline.promise(promise):\n                self.send(*promise)",
                "self.send(*promise)",
            ),
        ),
    ),
    Mutant(
        "uncommitted tail replayed",
        "3",
        "an entry is applied that another leader overwrites",
        (
            Edit(
                _RESIDENTS,
                "start, entries, max(log.commit, point.index))",
                "start, entries, entries[-1].index if entries else point.index)",
            ),
        ),
    ),
    Mutant(
        "suffix kept on truncation",
        "2",
        "a restart finds entries that were overwritten, and wins an election with them",
        (
            Edit(
                _REPLAY,
                "    del held.entries[kept:]  # the whole suffix, not only the entries that have a successor (rule 2)\n"
                "    held.entries += item.entries\n"
                "    if item.entries[-1].index != held.last_index:",
                "    held.entries[kept : kept + len(item.entries)] = item.entries\n"
                "    if item.entries[-1].index > held.last_index:",
            ),
        ),
        seeds=80,
    ),
    Mutant(
        "a snapshot's start forgets term and vote",
        "2",
        "two votes in one term, before and after a restart",
        (
            Edit(
                _REPLAY,
                "held.start, held.entries, held.commit = item.start, [], item.start[0]",
                "held.start, held.entries, held.commit = item.start, [], item.start[0]\n"
                "        held.hard_state = HardState(0, ReplicaId(0))",
            ),
            Edit(
                _RESIDENTS,
                "LogItem(replica.id, start=machine.applied, hard_state=hard_state, commit=machine.applied.index)",
                "LogItem(replica.id, start=machine.applied, commit=machine.applied.index)",
            ),
        ),
        seeds=0,
        tests=("tests/storage/test_replay.py",),
        why="the second request in that term would have to come an election timeout after the restart (rule 9)",
    ),
    Mutant(
        "a checkpoint forgets the vote",
        "5",
        "two votes in one term, before and after a restart",
        (
            Edit(
                _HOST,
                "                    hard_state=replica.hard_state,\n",
                "                    hard_state=HardState(replica.hard_state.term, ReplicaId(0)),\n",
            ),
        ),
        seeds=0,
        tests=("tests/core/node/test_checkpoint.py",),
        why="the second request in that term would have to come an election timeout after the restart (rule 9)",
    ),
    Mutant(
        "a checkpoint drops what is not committed",
        "5",
        "a follower's copy that was acknowledged is gone",
        (
            Edit(
                _HOST,
                "entries=replica.suffix(start.index),",
                "entries=tuple(one for one in replica.suffix(start.index) if one.index <= replica.committed),",
            ),
        ),
    ),
    Mutant(
        "a checkpoint begins after what is applied, flushed or not",
        "5",
        "rows that only the log held are gone with the power",
        (
            Edit(
                _HOST,
                "start = max(points.get(replica.id, replica.start), replica.start)",
                "start = hosted.machine.applied if hosted.machine else replica.start",
            ),
        ),
        seeds=0,
        tests=("tests/core/node/test_checkpoint.py",),
        why="power must go while the flush that a checkpoint waits for runs: not in 80 seeds",
    ),
    Mutant(
        "a checkpoint marks everything as committed",
        "3",
        "an uncommitted tail is applied after a restart",
        (
            Edit(
                _HOST,
                "                    commit=replica.committed,\n",
                "                    commit=replica.last.index,\n",
            ),
        ),
    ),
    Mutant(
        "restart without flushing what was found",
        "3",
        "what only the page cache held is counted",
        (
            Edit(
                "zkv/storage/segment_file.py",
                "disk.flush(file)  # after kill -9",
                "pass  # after kill -9",
            ),
            Edit("zkv/storage/log.py", "        log.vouch()\n", ""),
        ),
        seeds=0,
        tests=("tests/storage/test_disk_log_crashes.py",),
        why="a killed process's pages, then a power cut before the next flush",
    ),
    Mutant(
        "no flush after a write",
        "3",
        "every acknowledged write is lost with the power",
        (Edit("zkv/storage/segment_file.py", "        self._disk.flush(self._file)\n", ""),),
        tests=("tests/storage/test_disk_log.py", "tests/storage/test_disk_log_crashes.py"),
        seeds=10,
    ),
    Mutant(
        "no checksum of a record's body",
        "4",
        "a flipped byte is served",
        (
            Edit(
                "zkv/storage/segments.py",
                "if len(body) != length or crc32(body) != expected:",
                "if len(body) != length:",
            ),
        ),
        tests=("tests/storage/test_disk_log_damage.py",),
        seeds=10,
    ),
    Mutant(
        "damage before the end passes for a torn tail",
        "4",
        "batches that were acknowledged are cut off in silence",
        (Edit("zkv/storage/recovery.py", "if witness is not None:", "if False:"),),
        tests=("tests/storage/test_disk_log_damage.py",),
        seeds=10,
    ),
    Mutant(
        "restarted after a failed flush",
        "4",
        "pages that lie are believed",
        (
            Edit(
                "zkv/server/exits.py",
                "FINAL = frozenset({Exit.OK, Exit.USAGE, Exit.STORAGE, Exit.START})",
                "FINAL = frozenset({Exit.OK, Exit.USAGE, Exit.START})",
            ),
        ),
        seeds=0,
        tests=("tests/server/test_exits.py", "tests/server/test_restarter.py"),
        why="the restarter is a process of its own",
    ),
)
