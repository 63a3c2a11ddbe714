"""What a caller can ask that is no key: tables, nodes, coordinators, plans, figures, the map (sent by `desk`)."""

from typing import Final, TypeVar

import msgspec

from zkv import limits
from zkv.core.cluster import messages as m
from zkv.core.cluster.group import ChangeCoordinators
from zkv.core.cluster.shardmap import MapSnapshot, Name, Partitioner
from zkv.core.routing.operations import Bytes, Request, key_bytes
from zkv.errors import InvalidRequest
from zkv.ids import NodeId

T_co = TypeVar("T_co", covariant=True)
Figures = dict[str, object]

_NAME: msgspec.msgpack.Decoder[str] = msgspec.msgpack.Decoder(Name)
_COLD_S_MAX: Final = 30 * 24 * 3_600
_HOT_S_MAX: Final = 3_600
_ACTIONS: Final = ("drain", "undrain", "remove", "replace", "set")
_PARTITIONERS: Final = {"hash": Partitioner.HASH, "range": Partitioner.RANGE}

TableOrder = m.CreateTable | m.DropTable | m.SplitTable | m.MergeTable | m.TuneSplits | m.TuneMerges
Order = TableOrder | m.ChangeNode | m.CancelOperator | m.ChangeTuning | m.PlanRequest | ChangeCoordinators


class AdminRequest(Request[T_co]):
    """`order`: what a coordinator is told (its id is set on sending); None: answered from the map or by everybody."""

    __slots__ = ("everybody", "order")

    def __init__(self, order: Order | None = None, *, everybody: bool = False) -> None:
        super().__init__()
        self.order = order
        self.everybody = everybody


def create_table(
    name: str,
    nonce: int,
    *,
    partitioner: str = "hash",
    replicas: int = 3,
    shards: int | None = None,
    splits: tuple[Bytes, ...] = (),
) -> AdminRequest[None]:
    """Make a table; done when this client's map shows it. `nonce`: by chance, the same on each retry."""
    if partitioner not in _PARTITIONERS:
        raise InvalidRequest(f'partitioner is "hash" or "range", not {partitioner!r}')
    if type(replicas) is not int or not 1 <= replicas <= limits.REPLICAS_MAX:
        raise InvalidRequest(f"replicas is a number from 1 to {limits.REPLICAS_MAX}, not {replicas!r}")
    if shards is not None and (type(shards) is not int or not 1 <= shards <= limits.SHARDS_PER_TABLE_MAX):
        raise InvalidRequest(f"shards is a number from 1 to {limits.SHARDS_PER_TABLE_MAX}, not {shards!r}")
    points = tuple([key_bytes(split) for split in splits])
    order = m.CreateTable(0, nonce, _table_name(name), _PARTITIONERS[partitioner], replicas, shards or 0, points)
    return AdminRequest(order)


def drop_table(name: str) -> AdminRequest[None]:
    """Drop a table and its rows; done when this client's map no longer shows it."""
    return AdminRequest(m.DropTable(0, _table_name(name)))


def split_table(name: str, at: Bytes) -> AdminRequest[None]:
    """Split the shard of a range table that has the key `at`, where the new one begins; done when the map shows it.

    Where a shard begins there already, nothing is to be done.
    """
    return AdminRequest(m.SplitTable(0, _table_name(name), key_bytes(at)))


def merge_shards(name: str, at: Bytes) -> AdminRequest[None]:
    """Merge the two shards of a range table that part at the key `at`; done when the map shows one.

    Where no shard begins there, nothing is to be done.
    """
    return AdminRequest(m.MergeTable(0, _table_name(name), key_bytes(at)))


def tune_merges(size: int) -> AdminRequest[None]:
    """Shards of more bytes than `size` are not merged from now on; 0: none is by itself, and asked for as usual."""
    if type(size) is not int or size < 0:
        raise InvalidRequest(f"shards are merged up to a number of bytes, or not by themselves (0), not {size!r}")
    return AdminRequest(m.TuneMerges(0, size))


def tune_cold(after_s: float) -> AdminRequest[None]:
    """Neighbours that have been small and hardly asked for so long are merged from now on."""
    if not 0 <= after_s <= _COLD_S_MAX:
        raise InvalidRequest(f"cold shards are merged after 0 to {_COLD_S_MAX} seconds, not {after_s!r}")
    return AdminRequest(m.TuneMerges(0, -1, round(after_s * 1_000)))


def tune_hot(requests: int | None = None, after_s: float | None = None) -> AdminRequest[None]:
    """Shards of range tables that are asked more often a second (0: none), for so long, may be split from now on.

    None: as it is."""
    if requests is not None and (type(requests) is not int or requests < 0):
        raise InvalidRequest(f"hot shards are split above a number of requests a second, or not (0), not {requests!r}")
    if after_s is not None and not 0 <= after_s <= _HOT_S_MAX:
        raise InvalidRequest(f"hot shards are split after 0 to {_HOT_S_MAX} seconds, not {after_s!r}")
    hot_ms = -1 if after_s is None else round(after_s * 1_000)
    return AdminRequest(m.TuneSplits(0, -1, -1 if requests is None else requests, hot_ms))


def tune_splits(size: int) -> AdminRequest[None]:
    """Shards of range tables with more bytes than `size` are split by themselves from now on; 0: none."""
    least = limits.SPLIT_BYTES_MIN
    if type(size) is not int or size < 0 or 0 < size < least:
        raise InvalidRequest(f"shards are split above {least} bytes or more, or not at all (0), not {size!r}")
    return AdminRequest(m.TuneSplits(0, size))


def change_node(
    node: str,
    action: str,
    *,
    heir: str = "",
    weight: float | None = None,
    zone: str | None = None,
    plan: int = 0,
) -> AdminRequest[None]:
    """Drain, undrain, remove, replace or set a node; done when the map says so, and what follows has only begun.

    `plan`: of a PlanAnswer: exactly that, or NotPossible if the cluster has changed since.
    """
    return AdminRequest(_node_change(node, action, heir, weight, zone, plan))


def plan_node(
    node: str, action: str, *, heir: str = "", weight: float | None = None, zone: str | None = None
) -> AdminRequest[m.PlanAnswer]:
    """What `change_node` would move; nothing is done."""
    return AdminRequest(m.PlanRequest(0, _node_change(node, action, heir, weight, zone, 0)))


def cancel_operator(operator: int) -> AdminRequest[None]:
    """Take back a plan that moves a replica."""
    return AdminRequest(m.CancelOperator(0, operator))


def change_tuning(
    *,
    balance: bool | None = None,
    grace_s: float | None = None,
    moves_per_node: int | None = None,
    bytes_per_s: int | None = None,
) -> AdminRequest[None]:
    """How the cluster changes by itself from now on; None: as it is."""
    grace_ms = None if grace_s is None else round(grace_s * 1_000)
    if grace_ms is not None and not 0 <= grace_ms <= limits.GRACE_MS_MAX:
        raise InvalidRequest(f"a grace period is 0 to {limits.GRACE_MS_MAX // 1_000} s, not {grace_s}")
    if moves_per_node is not None and not 1 <= moves_per_node <= limits.MOVES_PER_NODE_MAX:
        raise InvalidRequest(f"moves per node: 1 to {limits.MOVES_PER_NODE_MAX}, not {moves_per_node}")
    least = limits.SNAPSHOT_RATE_BYTES_MIN
    if bytes_per_s is not None and bytes_per_s != 0 and bytes_per_s < least:
        raise InvalidRequest(f"a rate is 0 (as fast as it goes) or at least {least} bytes a second, not {bytes_per_s}")
    return AdminRequest(m.ChangeTuning(0, balance, grace_ms, moves_per_node, bytes_per_s))


def _node_change(node: str, action: str, heir: str, weight: float | None, zone: str | None, plan: int) -> m.ChangeNode:
    if action not in _ACTIONS:
        raise InvalidRequest(f"a node can be told to {', '.join(_ACTIONS)}, not {action!r}")
    return m.ChangeNode(0, NodeId(node), action, NodeId(heir), weight or 0.0, zone, plan)


def status() -> AdminRequest[dict[str, Figures | None]]:
    """The figures of every node and coordinator by its id; None for one that does not answer."""
    return AdminRequest(everybody=True)


def shard_map() -> AdminRequest[MapSnapshot]:
    """The map as this client holds it, once it has one."""
    return AdminRequest()


def _table_name(name: str) -> str:
    try:
        return _NAME.decode(msgspec.msgpack.encode(name))
    except ValueError as error:
        most = limits.TABLE_NAME_CHARACTERS_MAX
        raise InvalidRequest(f"a table's name is 1 to {most} letters, digits, _ . or -, not {name!r}") from error
