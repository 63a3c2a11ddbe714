"""What `bin/up` does: look before it leaps, start the Procfile, show the cluster when it serves, stop it cleanly."""

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import TextIO

import zkv
from zkv.cli.options import TABLE
from zkv.cli.overview import look
from zkv.cli.render import note, show_table
from zkv.errors import ConditionFailed, StartError, ZkvError
from zkv.testing.cluster import serves
from zkv.testing.ports import is_free

_NODES = (10, 20, 30)  # their distance from the base port: as in the Procfile
_COORDINATORS = (0,)  # likewise; each broadcasts at the port after its own
_HA_NODES = (10, 20, 30, 40, 50)  # as in Procfile.ha
_HA_COORDINATORS = (0, 2, 4)
_HOST = "127.0.0.1"
_LOOK_S = 0.2
_PATIENCE_S = 30.0
_KEY, _VALUE = b"greeting", b"hello from zkv"
_SHOWN_BYTES = 60


def run_cluster(procfile: Path, data: Path, port: int, *, ha: bool = False) -> int:
    """Run until SIGINT or SIGTERM; the exit status. Raises StartError where it cannot start.

    `ha`: the Procfile has three coordinators and five nodes.
    """
    lock = _claim_folder(data)
    nodes = [port + distance for distance in (_HA_NODES if ha else _NODES)]
    coordinators = [port + distance for distance in (_HA_COORDINATORS if ha else _COORDINATORS)]
    try:
        _check_ports([*coordinators, *(one + 1 for one in coordinators), *nodes])
        return _Run(procfile, data, port, coordinators, nodes).run()
    finally:
        lock.close()


class _Run:
    """One start of the Procfile. Owns the signal handlers of SIGINT, SIGTERM and SIGHUP."""

    def __init__(self, procfile: Path, data: Path, port: int, coordinators: list[int], nodes: list[int]) -> None:
        self._port = port
        self._coordinators = [f"{_HOST}:{one}" for one in coordinators]
        self._nodes = [f"{_HOST}:{one}" for one in nodes]
        self._stopping = False
        environment = os.environ | {"ZKV_DATA": str(data), "ZKV_PORT": str(port), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "honcho", "-d", str(procfile.parent), "-f", procfile.name, "start"]
        # A session of its own: Ctrl-C reaches this process alone, which then stops honcho, which stops the rest.
        self._honcho = subprocess.Popen(command, env=environment, start_new_session=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)

    def run(self) -> int:
        if self._wait_until_serving():
            self._welcome()
        status = self._honcho.wait()
        if not self._stopping:
            raise StartError(f"the processes ended by themselves (honcho: {status})", advice="see their last lines")
        note("stopped; the data stays where it is")
        return 0

    def _wait_until_serving(self) -> bool:
        """False: it ended, or is to end, before it served."""
        complain_at = time.monotonic() + _PATIENCE_S
        while not self._stopping and self._honcho.poll() is None:
            why = self._why_not_serving()
            if not why:
                return True
            if time.monotonic() > complain_at:
                complain_at += _PATIENCE_S
                note(f"zkv: not serving yet, still waiting: {why}")
            time.sleep(_LOOK_S)
        return False

    def _why_not_serving(self) -> str:
        try:
            with zkv.connect(*self._coordinators, timeout_s=2.0) as client:
                return "" if serves(client) else "some shard has no leader"
        except ZkvError as error:
            return error.what

    def _welcome(self) -> None:
        """Show the cluster, and that what is written through one node can be read through another."""
        try:
            with zkv.connect(*self._coordinators) as client:
                seen = look(client)
            toured = seen.map.table(TABLE) is not None
            shown = self._tour() if toured else f"There is no table {TABLE!r}: somebody dropped it."
        except ZkvError as error:
            note(f"zkv: the cluster serves, but its tour failed: {error}")
            return
        print("\nThe cluster serves.\n")
        names = ["id", "state", "address", "leaders", "shards"]
        show_table(names, [[row[name] for name in names] for row in seen.node_rows()])
        print()
        names = ["shard", "table", "range", "leader", "replicas"]
        show_table(names, [[row[name] for name in names] for row in seen.shard_rows()])
        print(f"\n{shown} Try next:\n")
        usual = self._port == 7400 and len(self._coordinators) == 1
        where = "" if usual else f" --address {','.join(self._coordinators)}"
        for command in ("get greeting", "locate greeting", "status") if toured else (f"table create {TABLE}", "status"):
            print(f"  .venv/bin/zkv {command}{where}")
        print("\nCtrl-C stops it; the data stays.\n", flush=True)

    def _tour(self) -> str:
        """What a user has put under the key stays."""
        with zkv.connect(self._nodes[0], direct=False) as first:
            try:
                version, done = first.put(_KEY, _VALUE, if_absent=True), "Wrote"
            except ConditionFailed as there:
                version, done = there.version or 0, "Found"
        with zkv.connect(self._nodes[1], direct=False) as second:
            value = second.get(_KEY) or b""
        read = value[:_SHOWN_BYTES].decode(errors="replace")
        return f"{done} {_KEY.decode()!r} (version {version}) through node1; read {read!r} through node2."

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if not self._stopping:
            self._stopping = True
            self._honcho.terminate()


def _claim_folder(data: Path) -> TextIO:
    """Make the folder, prove that it can be written, and lock it against a second start. Close the file to let go."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=data):
            lock = (data / "up.lock").open("w")
    except OSError as error:
        raise StartError(f"cannot write in {data}: {error.strerror}", advice="choose another --data") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StartError(
            f"{data} is in use by another bin/up", advice="stop that one, or choose another --data and --port"
        ) from None
    return lock


def _check_ports(wanted: list[int]) -> None:
    taken = [str(one) for one in sorted(wanted) if not is_free(one, _HOST)]
    if taken:
        what = f"port {taken[0]} is" if len(taken) == 1 else f"ports {', '.join(taken)} are"
        raise StartError(f"{what} taken on {_HOST}", advice="stop what listens there, or choose another --port")
