"""`zkv map watch`: what the coordinators broadcast, as it arrives."""

import time
from collections.abc import Iterator
from typing import Annotated

import msgspec
import typer

from zkv.cli import options as o
from zkv.core.cluster.group import Whereabouts
from zkv.core.cluster.shardmap import Beacon, MapDelta
from zkv.core.shard.descriptor import ShardInfo
from zkv.errors import BadFrame, Unavailable
from zkv.net import sockets
from zkv.net.clock import now_ms
from zkv.wire import codec

app = typer.Typer(help="Follow the shard map.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Follow the shard map."""


@app.command()
def watch(
    count: Annotated[int | None, typer.Option(help="End after so many broadcasts.", metavar="N", min=1)] = None,
    seconds: Annotated[float | None, typer.Option("--for", help="End after so long.", metavar="SECONDS")] = None,
    changes: Annotated[
        bool, typer.Option("--changes", help="Leave out beacons, which say that nothing changed.")
    ] = False,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Print each broadcast of the coordinators as it arrives, until Ctrl-C.

    Example: zkv map watch --changes
    """
    with o.connected(address, timeout) as client:
        publishers = client.shard_map().publishers
    if not publishers:
        raise Unavailable("the map names no publisher")
    shown = 0
    for message in _broadcasts(publishers, None if seconds is None else now_ms() + round(seconds * 1000)):
        if changes and isinstance(message, Beacon):
            continue
        print(_as_json(message) if as_json else _as_text(message), flush=True)
        shown += 1
        if shown == count:
            return


def _broadcasts(publishers: tuple[str, ...], end_ms: int | None) -> Iterator[MapDelta | Beacon]:
    """Every broadcast from now on, until `end_ms`."""
    context = sockets.context()
    heard = [sockets.subscriber(context, address) for address in publishers]
    try:
        while end_ms is None or now_ms() < end_ms:
            pause_ms = 1_000 if end_ms is None else max(0, min(1_000, end_ms - now_ms()))
            ready = [source for source in heard if source.poll(pause_ms // len(heard))]
            heard_now = [codec.decode_broadcast(source.recv()) for source in ready]
            yield from [message for message in heard_now if not isinstance(message, Whereabouts)]
    except BadFrame as error:
        raise Unavailable(f"the broadcast of {', '.join(publishers)} is none of ours: {error}") from error
    finally:
        for source in heard:
            sockets.close(source, clean=False)
        context.term()


def _as_json(message: MapDelta | Beacon) -> str:
    fields = {"kind": type(message).__name__.lower()} | msgspec.structs.asdict(message)
    return msgspec.json.encode(fields).decode()


def _as_text(message: MapDelta | Beacon) -> str:
    clock = time.strftime("%H:%M:%S")
    if isinstance(message, Beacon):
        return f"{clock} version {message.version}: nothing new"
    news = [f"table {table.name} created" for table in message.tables]
    news += [f"{node.node} at {node.address} is {node.state.name.lower()}" for node in message.nodes]
    news += [_shard_text(shard) for shard in message.shards]
    news += [f"table {number} dropped" for number in message.dropped_tables]
    news += [f"{name} gone" for name in message.dropped_nodes]
    news += [f"shard {number} gone" for number in message.dropped_shards]
    return f"{clock} version {message.version}: {'; '.join(news) or 'no change'}"


def _shard_text(shard: ShardInfo) -> str:
    leader = shard.leading()
    led = f"led by {leader.node}" if leader is not None else "without a leader"
    voters = " ".join(voter.node for voter in shard.membership.voters)
    return f"shard {shard.shard} {shard.state.name.lower()} {led} in term {shard.term}, on {voters}"
