"""Commands that show the cluster: status nodes shards locate ring."""

from typing import Annotated

import typer

from zkv.cli import options as o
from zkv.cli.overview import Overview, look, range_text
from zkv.cli.render import bar, human_bytes, print_json, show_rows, show_table
from zkv.core.cluster.mapstate import ShardMap
from zkv.core.cluster.partition import hash_slot, partition_key
from zkv.core.cluster.placement import ring_of
from zkv.core.cluster.shardmap import NodeState, Partitioner, TableInfo
from zkv.core.shard.descriptor import ShardInfo
from zkv.errors import NoSuchTable, Unavailable

_BYTES = ("bytes", "disk_bytes", "memory_bytes")


def status(
    address: o.AddressOption = o.ADDRESS, timeout: o.TimeoutOption = o.TIMEOUT_S, as_json: o.JsonOption = False
) -> None:
    """Show the cluster on one screen: nodes, leaders, shards in need, keys, bytes, requests per second.

    Example: zkv status --address 127.0.0.1:7400
    """
    with o.connected(address, timeout) as client:
        seen = look(client)
    if as_json:
        print_json(seen.totals() | {"nodes": seen.node_rows()})
        return
    for name, value in _summary(seen):
        print(f"{name:<10}{value}")
    print()
    _show_nodes(seen)


def nodes(
    address: o.AddressOption = o.ADDRESS, timeout: o.TimeoutOption = o.TIMEOUT_S, as_json: o.JsonOption = False
) -> None:
    """Show each node: its state, what it leads and holds, its load.

    Example: zkv nodes --json
    """
    with o.connected(address, timeout) as client:
        seen = look(client)
    if as_json:
        print_json({"nodes": seen.node_rows()})
    else:
        _show_nodes(seen)


def shards(
    table: Annotated[str | None, typer.Option("--table", "-t", metavar="NAME", help="Of this table only.")] = None,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Show each shard: its range, leader, replicas and epoch.

    Example: zkv shards --table default
    """
    with o.connected(address, timeout) as client:
        seen = look(client)
    if table is not None:
        table_named(seen.map, table)
    show_rows(seen.shard_rows(table), as_json=as_json)


def locate(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key; it need not exist.")],
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Show where KEY lives, and why: its hash, its shard, the shard's replicas and leader.

    Example: zkv locate user:42
    """
    name = o.argument_bytes(key)
    with o.connected(address, timeout) as client:
        shard_map = ShardMap(client.shard_map())
    info = table_named(shard_map, table)
    shard = shard_map.locate(info.table, partition_key(info.partitioner, name))
    if shard is None:
        raise Unavailable(f"the map shows no shard for {key!r}")
    leader = shard.leading()
    found: dict[str, object] = {
        "key": key,
        "table": table,
        "partitioner": info.partitioner.name.lower(),
        "hash": hash_slot(name) if info.partitioner == Partitioner.HASH else None,
        "shard": shard.shard,
        "range": range_text(info.partitioner, shard),
        "replicas": [voter.node for voter in shard.membership.voters],
        "leader": leader.node if leader is not None else None,
        "why": _reasons(name, info, shard),
    }
    if as_json:
        print_json(found)
        return
    for field, value in found.items():
        for text in value if field == "why" and isinstance(value, list) else [value]:
            print(f"{field:<12}{' '.join(text) if isinstance(text, list) else '-' if text is None else text}")


def ring(
    address: o.AddressOption = o.ADDRESS, timeout: o.TimeoutOption = o.TIMEOUT_S, as_json: o.JsonOption = False
) -> None:
    """Show each node's share of the consistent-hashing ring as a bar, beside its fair share.

    Example: zkv ring
    """
    with o.connected(address, timeout) as client:
        shard_map = ShardMap(client.shard_map())
    present = [node for _, node in sorted(shard_map.nodes.items()) if node.state == NodeState.UP]
    if not present:
        raise Unavailable("no node is up, so there is no ring")
    shares = ring_of(present).shares()
    weights = sum(node.weight for node in present)
    rows: list[dict[str, object]] = [
        {
            "node": node.node,
            "zone": node.zone,
            "weight": node.weight,
            "fair_percent": round(100 * node.weight / weights, 2),
            "share_percent": round(100 * shares[node.node], 2),
        }
        for node in present
    ]
    if not as_json:
        most = max(shares.values())
        rows = [row | {"": bar(shares[node.node], most)} for row, node in zip(rows, present, strict=True)]
    show_rows(rows, as_json=as_json)


def table_named(shard_map: ShardMap, name: str) -> TableInfo:
    """The table of that name. Raises NoSuchTable."""
    info = shard_map.table(name)
    if info is None:
        raise NoSuchTable(f"there is no table {name!r}")
    return info


def _show_nodes(seen: Overview) -> None:
    show_rows([{name: _shown(name, value) for name, value in row.items()} for row in seen.node_rows()], as_json=False)
    if seen.below:
        print()
        short = [row for row in seen.shard_rows() if row["shard"] in seen.below]
        columns = ["shard", "table", "leader", "replicas", "live", "wanted"]
        show_table(columns, [[row[name] for name in columns] for row in short], title="below their replica count")


def _summary(seen: Overview) -> list[tuple[str, str]]:
    told = seen.totals()
    leaderless, below = told["shards_without_leader"], told["shards_below_replicas"]
    assert isinstance(leaderless, list)
    assert isinstance(below, list)
    disk, memory = _int(told["disk_bytes"]), _int(told["memory_bytes"])
    counted = f", {told['shards_not_counted']} shards not counted yet" if told["shards_not_counted"] else ""
    lines = [
        ("cluster", f"{told['cluster']}, map version {told['map_version']}"),
        ("led by", _led_by(seen.coordinators)),
        ("nodes", f"{told['nodes_up']} up, {told['nodes_down']} down"),
        ("shards", f"{told['shards']} in {told['tables']} tables"),
        ("", f"{len(leaderless)} without a leader, {len(below)} below their replica count"),
        ("keys", f"{told['keys']:,}{counted}"),
        (
            "bytes",
            f"{human_bytes(disk)} on disk, {human_bytes(memory)} in memory",
        ),
        ("requests", f"{told['reads_per_s']:,} reads/s, {told['writes_per_s']:,} writes/s"),
    ]
    return [*lines, ("silent", " ".join(seen.silent))] if seen.silent else lines


def _led_by(coordinators: list[str]) -> str:
    if not coordinators:
        return "no coordinator answers; reads, writes and failover go on without"
    leader, *others = coordinators
    return f"{leader} (of a group with {', '.join(others)})" if others else leader


def _shown(name: str, value: object) -> object:
    return human_bytes(value) if name in _BYTES and isinstance(value, int) else value


def _int(figure: object) -> int:
    assert isinstance(figure, int)
    return figure


def _reasons(key: bytes, table: TableInfo, shard: ShardInfo) -> list[str]:
    """Why the key is where it is, in sentences."""
    text = range_text(table.partitioner, shard)
    if table.partitioner == Partitioner.HASH:
        first = f"the low 16 bits of the key's CRC-32 are {hash_slot(key)}, and shard {shard.shard} owns {text}"
        second = "its replicas are the first nodes on the ring from the shard's token on, zones and loads allowing"
    else:
        first = f"{table.name!r} keeps key order, and shard {shard.shard} owns {text}"
        second = "its replicas went to the nodes that held least for their weight, zones allowing"
    leader = shard.leading()
    if leader is None:
        return [first, second, "no leader is known: it is being elected, or a majority of the replicas is down"]
    return [first, second, f"{leader.node} leads: the replicas elected it in term {shard.term}"]
