"""The process behind `Proxies`, `python -m zkv.chaos.proxy JSON`: passes bytes on, or holds them back, by link.

Each process of the cluster has a port here, which others take for its own. Who has connected is told by the system's
table of sockets: the process that owns the other end, and the `--id` on its command line; everybody else is a client.
Orders come as lines of JSON on stdin, each answered by a line on stdout; when stdin ends, this process does.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from zkv.chaos.network import CLIENTS

_PIECE_BYTES = 64 * 1024
_SLOW_DELAY_S, _SLOW_BYTES_PER_S = 0.04, 64 * 1024
SLOWNESS = f"{_SLOW_DELAY_S * 1000:g} ms each way, {_SLOW_BYTES_PER_S >> 10} KiB/s"
SOCKETS = Path("/proc/net/tcp")
_PROC = Path("/proc")


class Door(msgspec.Struct, frozen=True):
    """Where the process `name` is to be reached, and where it really is; `folder` is its own on its command line."""

    name: str
    listen: str
    target: str
    folder: str


class Order(msgspec.Struct, frozen=True):
    """The links that are cut, and the processes whose links are slow, from now on."""

    cut: list[tuple[str, str]] = []
    slow: list[str] = []


class Proxy:
    """All doors, in one event loop."""

    def __init__(self, doors: list[Door]) -> None:
        self._doors = doors
        self._names = {door.folder: door.name for door in doors}
        self._order = Order()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until stdin ends."""
        for door in self._doors:
            host, _, port = door.listen.rpartition(":")
            await asyncio.start_server(partial(self._serve, door), host, int(port))
        orders = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        _answer()
        while line := await orders.readline():
            self._order = msgspec.json.decode(line, type=Order)
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            _answer()

    async def _serve(self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = self._who(writer.get_extra_info("peername"))
        host, _, port = door.target.rpartition(":")
        async with _closed(writer):
            try:
                there, back = await asyncio.open_connection(host, int(port))
            except OSError:
                return  # nobody listens: the caller sees its connection end, as it would without us
            async with _closed(back):
                pumps = (
                    asyncio.create_task(self._pump(reader, back, (source, door.name))),
                    asyncio.create_task(self._pump(there, writer, (door.name, source))),
                )
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: tuple[str, str]) -> None:
        """One direction of one connection, to its end; that too is not seen through a cut."""
        try:
            while data := await reader.read(_PIECE_BYTES):
                await self._pass(link, len(data))
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            await self._pass(link, 0)

    async def _pass(self, link: tuple[str, str], size: int) -> None:
        while link in self._order.cut:
            await self._changed.wait()
        if not {*link}.isdisjoint(self._order.slow):
            await asyncio.sleep(_SLOW_DELAY_S + size / _SLOW_BYTES_PER_S)

    def _who(self, peer: tuple[str, int]) -> str:
        inode = _inode_of(peer[1])
        for process in _PROC.iterdir() if inode else ():
            if process.name.isdecimal() and (name := self._named(process)) and _holds(process, inode):
                return name
        return CLIENTS

    def _named(self, process: Path) -> str:
        """Which of the cluster's processes this is; "" for all others."""
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return ""  # it has just ended
        return next((self._names[word.decode()] for word in words if word.decode(errors="replace") in self._names), "")


def _inode_of(port: int) -> str:
    """Of the socket of this machine whose own port it is, connected."""
    wanted = f"{port:04X}"
    for line in SOCKETS.read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].rpartition(":")[2] == wanted and fields[3] == "01":
            return fields[9]
    return ""


def _holds(process: Path, inode: str) -> bool:
    return f"socket:[{inode}]" in _open_files(process)


def _open_files(process: Path) -> Iterator[str]:
    try:
        for file in (process / "fd").iterdir():
            yield os.readlink(file)
    except OSError:
        return  # it, or the file, has just been closed; or it is another user's


@asynccontextmanager
async def _closed(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()


def _answer() -> None:
    sys.stdout.write("done\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(Proxy(msgspec.json.decode(sys.argv[1].encode(), type=list[Door])).run())
