"""A coordinator around its rows: what a restart finds, and what a folder of before looks like afterwards."""

import random

import msgspec

from zkv.core.cluster.group import CoordinatorInfo
from zkv.core.node.coordination import Coordination
from zkv.core.raft.messages import LogBatch
from zkv.core.raft.ready import Timing
from zkv.core.shard.rows import row_key
from zkv.ids import NodeId, ReplicaId
from zkv.storage.memory import MemoryEngine
from zkv.storage.replay import RecoveredReplica, Replay
from zkv.wire import codec

ALONE = (CoordinatorInfo(NodeId("c1"), "c1:1", "c1:2"),)


class Office:
    """One coordinator with a disk whose flushes end within the turn."""

    def __init__(self) -> None:
        self.rows = MemoryEngine()
        self.log: list[bytes] = []
        self.now_ms = 1_000_000

    def start(self) -> None:
        self.core = Coordination(NodeId("c1"), 7, self.rows, random.Random(1), Timing(), given=ALONE)
        self.core.load(self._recovered(), self.now_ms)

    def _recovered(self) -> dict[ReplicaId, RecoveredReplica]:
        replay = Replay()
        for batch in self.log:
            replay.apply(msgspec.msgpack.decode(batch, type=LogBatch))
        replay.check()
        return replay.replicas

    def run(self, turns: int = 50) -> None:
        for _ in range(turns):
            self.now_ms += 20
            self.core.tick(self.now_ms)
            effects = self.core.turn().effects
            if effects.log is not None:
                self.log.append(codec.encode(effects.log))
                self.core.host.persisted()
            self.rows.apply(effects.changes)
            if effects.flush_engine:
                self.rows.flush()
                self.core.host.engine_flush_begins()
                self.core.host.engine_flushed()

    def old_rows(self) -> dict[bytes, bytes]:
        """The rows outside of any space, where the state once lay."""
        return dict(self.rows.scan(b"c", b"d"))


def test_a_map_is_found_again_after_a_restart() -> None:
    office = Office()
    office.start()
    office.run()
    before = office.core.state.map.snapshot()
    assert before.version > 0
    assert before.coordinators == ("c1:1",)
    office.start()
    assert office.core.state.map.snapshot() == before
    office.run()
    assert office.core.succession.sure


def test_rows_from_before_the_map_had_a_space_are_moved_into_it() -> None:
    office = Office()
    office.start()
    office.run()
    before = office.core.state.map.snapshot()
    hosted = office.core.hosted
    assert hosted is not None
    assert hosted.machine is not None
    prefix = row_key(hosted.machine.space, b"")
    for key, value in list(office.rows.scan(*hosted.machine.row_ranges()[0])):
        office.rows.apply({key: None, key[len(prefix) :]: value})
    assert office.old_rows()
    for _ in range(2):
        office.start()
        assert office.core.state.map.snapshot() == before
        office.run()
        assert office.old_rows() == {}
