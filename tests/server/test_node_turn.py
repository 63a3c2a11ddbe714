"""The order of a node's turn: the clock that judges leases is read after the last message was received (rule 8)."""

from pathlib import Path

import pytest
import zmq

from zkv.core.cluster.messages import StatusRequest
from zkv.net import drain
from zkv.net.clock import now_ms
from zkv.server import node as node_module
from zkv.server.node import NodeProcess
from zkv.server.settings import NodeSettings
from zkv.testing.ports import ClaimedPorts
from zkv.wire import codec


def test_the_clock_is_read_after_the_last_message_was_received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = ClaimedPorts(2)
    listen, coordinator = (f"127.0.0.1:{port}" for port in claimed.ports)
    process = NodeProcess(NodeSettings(id="n1", data=tmp_path / "n1", listen=listen, join=(coordinator,)))
    done: list[str] = []

    def draining(socket: zmq.Socket[bytes]) -> list[tuple[bytes, bytes]]:
        taken = drain_router(socket)
        done.append(f"received {len(taken)}")
        return taken

    def reading() -> int:
        done.append("clock")
        return now_ms()

    drain_router = drain.drain_router
    monkeypatch.setattr(node_module.drain, "drain_router", draining)
    monkeypatch.setattr(node_module, "now_ms", reading)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    client = context.socket(zmq.DEALER)
    client.connect(f"tcp://{listen}")
    client.send(codec.encode(StatusRequest(1)))
    assert process.router.poll(5_000)
    process.turn()
    assert done == ["received 1", "clock"]
    assert client.poll(5_000), "it was answered in that turn"
    client.close(linger=0)
    context.term()
    process.close()
    claimed.release()
