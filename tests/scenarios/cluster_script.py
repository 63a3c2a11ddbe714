"""The commands of the cluster scenarios: followers of the map, and a coordinator with its nodes.

A follower alone (`zkv/core/cluster/follower.py`); after each command it says where it is:

follower [3]                     begins anew; it keeps at most 3 deltas
delta 5 [shard 7 leader 72 term 3] [group 88]    the broadcast brings the change to version 5
beacon 5 [group 88]              the broadcast says that the map is at version 5
snapshot 5 [shard 7 ...] [group 88]              the whole map arrives
news shard 7 leader 72 term 3    a refusal brought news of a shard

A coordinator and its nodes (`tests/core/cluster/town.py`); written down: changes of the map, orders, answers, events:

town n1 n2 n3                    begins anew
run 500                          time passes, in turns of 50 ms
create t 3 2, drop t             a client asks for a table with 3 replicas and 2 shards
node n2 drain, node n2 replace n5                an operator drains, undrains, removes or replaces a node
plan n2 drain                    what that would move
says 2 3000 at m [version 1]     shard 2 is asked 3,000 times a second, says its leader, which m halves ("-": no key)
hot 100                          shards that are asked more than 100 times a second may be split
tune grace 5000 moves 1          how the cluster changes by itself: grace, moves, balance (0 or 1)
cancel 3                         an operator takes plan 3 back
join n4                          a node joins
kill n1, restart n1, wipe n1     a process dies, comes back, comes back with an empty folder
coordinator                      the coordinator restarts on what its disk holds
term 3 5                         shard 3's group elects its leader again, in term 5
losing KIND                      the next order of that kind is lost (CreateReplica, ChangeMember, ...)
report n1 shard 1 leader 1 term 1 [version 1]    n1 says this of its replica, as an old leader may
again                            the order of membership that was given last arrives once more (again split: to split)
shards                           what the map says of every shard, and what its group does
"""

import msgspec

from tests.core.cluster.made import GROUP, delta, shard, snapshot, table
from tests.core.cluster.town import FakeNode, Town
from zkv.core.cluster import messages as m
from zkv.core.cluster.commands import MapCommand
from zkv.core.cluster.follower import MapFollower
from zkv.core.cluster.operators import ReplaceReplica
from zkv.core.cluster.shardmap import Beacon, NodeDuty, NodeInfo, NodeState, Partitioner
from zkv.core.cluster.splits import told_of_split
from zkv.core.message import Message
from zkv.core.raft.messages import Membership
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ReplicaId, ShardId


class Script:
    """One scenario, driven by text."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._follower = MapFollower()
        self._begin(Town())

    def run(self, command: str) -> list[str]:
        """Everything that came of one command, a line each."""
        self._lines = []
        verb, *words = command.split()
        getattr(self, f"_do_{verb}")(*words)
        return self._lines

    def close(self) -> None:
        """Nothing beyond itself was changed."""

    # A follower

    def _do_follower(self, kept: str = "1024") -> None:
        self._follower = MapFollower(buffered_max=int(kept))
        self._tell()

    def _do_delta(self, version: str, *words: str) -> None:
        given = _pairs(words)
        self._follower.heard(delta(int(version), group=int(given.get("group", GROUP)), shards=_shards(given)))
        self._tell()

    def _do_beacon(self, version: str, *words: str) -> None:
        self._follower.heard(Beacon(int(_pairs(words).get("group", GROUP)), int(version)))
        self._tell()

    def _do_snapshot(self, version: str, *words: str) -> None:
        given = _pairs(words)
        group = int(given.get("group", GROUP))
        whole = snapshot(int(version), group=group, tables=(table(1),), shards=_shards(given))
        self._follower.snapshot_arrived(whole)
        self._tell()

    def _do_news(self, *words: str) -> None:
        assert self._follower.map is not None
        (info,) = _shards(_pairs(words))
        self._lines.append("it is news" if self._follower.map.learn(info) else "it is no news")
        self._tell()

    def _tell(self) -> None:
        follower, held = self._follower, self._follower.map
        where = f"map at {held.version} of group {held.incarnation}" if held is not None else "no map"
        known = "".join(f", shard {one.shard} {_led(one)}" for one in held.shards.values()) if held is not None else ""
        wants = ", wants a snapshot" if follower.wants_snapshot else ""
        refused = f", refused {follower.snapshots_refused}" if follower.snapshots_refused else ""
        self._lines.append(f"{where}{known}{wants}{refused}")

    # A coordinator and its nodes

    def _begin(self, town: Town) -> None:
        self._town = town
        self._origin_ms = town.now_ms
        self._seen = (0, 0, 0, 0)
        self._losing: list[str] = []
        town.on_order = self._passes

    def _do_town(self, *names: str) -> None:
        self._begin(Town(*names))
        self._town.coordinator.first_shards = 1

    def _do_run(self, milliseconds: str) -> None:
        for _ in range(int(milliseconds) // 50):
            self._town.turn()
            self._note()

    def _do_create(self, name: str, replicas: str, shards: str) -> None:
        self._town.ask(m.CreateTable(7, 99, name, Partitioner.RANGE, int(replicas), 0, _splits(int(shards))))
        self._note()

    def _do_drop(self, name: str) -> None:
        self._town.ask(m.DropTable(8, name))
        self._note()

    def _do_node(self, name: str, action: str, heir: str = "") -> None:
        self._town.ask(m.ChangeNode(9, NodeId(name), action, NodeId(heir)))
        self._note()

    def _do_plan(self, name: str, action: str) -> None:
        self._town.ask(m.PlanRequest(10, m.ChangeNode(0, NodeId(name), action)))
        answer = self._town.answers[-1]
        assert isinstance(answer, m.PlanAnswer)
        self._lines += [
            f"shard {move.shard} would move from {move.source} to {move.target or 'nowhere'}: {move.why}"
            for move in answer.moves
        ]
        self._seen = (*self._seen[:3], len(self._town.answers))

    def _do_tune(self, *words: str) -> None:
        given = _pairs(words)
        moves, grace, balance = given.get("moves"), given.get("grace"), given.get("balance")
        change = m.ChangeTuning(
            11,
            balance=None if balance is None else balance == "1",
            grace_ms=None if grace is None else int(grace),
            moves_per_node=None if moves is None else int(moves),
        )
        self._town.ask(change)
        self._note()

    def _do_hot(self, requests: str) -> None:
        self._town.ask(m.TuneSplits(13, -1, int(requests)))
        self._note()

    def _do_says(self, shard: str, requests: str, *words: str) -> None:
        given, info = _pairs(words), self._town.groups[ShardId(int(shard))].info
        leader = info.leading()
        assert leader is not None
        version, at = int(given.get("version", info.range_version)), given["at"].strip("-").encode()
        size = m.ShardSize(info.shard, version, b"", -1, int(requests), 100, at)
        self._town.ask(m.ShardSizes(leader.node, (size,)), source=self._town.nodes[leader.node].source)
        self._note()

    def _do_cancel(self, plan: str) -> None:
        self._town.ask(m.CancelOperator(12, int(plan)))
        self._note()

    def _do_join(self, name: str) -> None:
        self._town.join(name)

    def _do_kill(self, name: str) -> None:
        self._town.kill(name)

    def _do_restart(self, name: str) -> None:
        self._town.restart(name)

    def _do_wipe(self, name: str) -> None:
        self._town.wipe(name)

    def _do_coordinator(self) -> None:
        town = self._town
        town.start_coordinator()
        town.coordinator.first_shards = 1
        for node in town.nodes.values():
            node.registered = False
            node.generation += 1

    def _do_term(self, shard: str, term: str) -> None:
        group = self._town.groups[ShardId(int(shard))]
        group.info = msgspec.structs.replace(group.info, term=int(term))

    def _do_losing(self, kind: str) -> None:
        self._losing.append(kind)

    def _do_report(self, name: str, *words: str) -> None:
        given = _pairs(words)
        town = self._town
        node, shard_id = town.nodes[name], ShardId(int(given["shard"]))
        info = town.groups[shard_id].info
        membership = msgspec.structs.replace(
            info.membership, version=int(given.get("version", info.membership.version))
        )
        told = msgspec.structs.replace(
            info, leader=ReplicaId(int(given["leader"])), term=int(given["term"]), membership=membership
        )
        report = m.ShardReport(told.leader, told, leading=True, applied=1, rows=-1, bytes=-1)
        town.ask(m.Alive(NodeId(name), node.incarnation, node.number + 1, (report,)), source=node.source)
        self._note()

    def _do_again(self, what: str = "change") -> None:
        town, kind = self._town, m.SplitShard if what == "split" else m.ChangeMember
        order = next(order for _, order in reversed(town.sent) if isinstance(order, kind))
        before = town.groups[order.shard].info
        if isinstance(order, m.SplitShard):
            town.split_group(order)
        else:
            town.groups[order.shard].change(order)
        after = town.groups[order.shard].info
        nothing = f"it changes nothing: {_members(after.membership)}"
        self._lines.append("it changes something" if after != before else nothing)

    def _do_shards(self) -> None:
        for info in self._town.map.shards:
            truth = self._town.groups[info.shard].info
            self._lines.append(
                f"shard {info.shard} {ShardState(info.state).name} {_led(info)} {_members(info.membership)}; "
                f"its group: {_led(truth)} {_members(truth.membership)}"
            )

    def _passes(self, node: FakeNode, order: Message) -> bool:
        kind = type(order).__name__
        if kind not in self._losing:
            return True
        self._losing.remove(kind)
        self._lines.append(f"lost: {_message(node.name, order)}")
        return False

    def _note(self) -> None:
        """Everything new."""
        town = self._town
        commands, sent, events, answers = self._seen
        at = f"{town.now_ms - self._origin_ms:5}"
        for command in town.commands[commands:]:
            self._lines += [f"{at} version {command.delta.version}: {line}" for line in _changes(command)]
        for name, message in town.sent[sent:]:
            if not isinstance(message, m.Heard | m.Registered):
                self._lines.append(f"{at} {_message(name, message)}")
        self._lines += [f"{at} answer: {_answer(answer)}" for answer in town.answers[answers:]]
        self._lines += [f"{at} says: {event}" for event in town.events[events:]]
        self._seen = (len(town.commands), len(town.sent), len(town.events), len(town.answers))


def _changes(command: MapCommand) -> list[str]:
    delta = command.delta
    lines = [f"table {info.name}" for info in delta.tables]
    lines += [f"node {info.node} {_state(info)}, folder {info.incarnation}" for info in delta.nodes]
    lines += [
        f"shard {info.shard} {ShardState(info.state).name} {_led(info)} {_members(info.membership)}"
        for info in delta.shards
    ]
    lines += [f"table {gone} is gone" for gone in delta.dropped_tables]
    lines += [f"shard {gone} is gone" for gone in delta.dropped_shards]
    lines += [f"node {gone} is gone" for gone in delta.dropped_nodes]
    lines += [_plan(plan) for plan in command.operators]
    lines += [f"plan {done} is done" for done in command.finished]
    lines += [f"plan {plan.id}: {told_of_split(plan)}" for plan in command.splits]
    lines += [f"plan {done}, of a split, has ended" for done in command.parted]
    return lines or ["nothing"]


def _state(info: NodeInfo) -> str:
    duty = "" if info.duty == NodeDuty.SERVING else f" {NodeDuty(info.duty).name}"
    return f"{NodeState(info.state).name}{duty}{f' for {info.heir}' if info.heir else ''}"


def _plan(plan: ReplaceReplica) -> str:
    gone = ", ".join(str(one.replica) for one in plan.lost)
    if plan.undone:
        return f"plan {plan.id}: shard {plan.shard} gives up {gone} on {plan.target.node} again, for {plan.why}"
    goes_on = "goes on to replace" if plan.joined else "replaces"
    where = f"{plan.fresh.replica} on {plan.fresh.node}"
    return f"plan {plan.id}: shard {plan.shard} {goes_on} {gone} by {where}, for {plan.why}"


def _message(name: str, message: Message) -> str:
    match message:
        case m.CreateReplica():
            text = f"create replica {message.replica} of shard {message.info.shard}, folder {message.incarnation}"
        case m.DropShard():
            text = f"drop replica {message.replica} of shard {message.shard}, folder {message.incarnation}"
        case m.ChangeMember():
            text = f"shard {message.shard} at v{message.expected}: {message.action} {message.member.replica}"
        case m.TransferLeader():
            text = f"shard {message.shard}: hand over to {message.target}"
        case m.DismissReplica():
            text = f"shard {message.shard}: tell {message.member.replica} on {message.member.node} that it is out"
        case m.RegisterRefused():
            text = f"refused: {message.what}"
        case _:
            text = type(message).__name__
    return f"-> {name} {text}"


def _answer(answer: Message) -> str:
    match answer:
        case m.AdminDone():
            return f"#{answer.id} done in version {answer.version}"
        case m.AdminRefused():
            return f"#{answer.id} {answer.error}: {answer.what}"
        case _:
            return type(answer).__name__


def _members(membership: Membership) -> str:
    voters = ",".join(str(one.replica) for one in membership.voters)
    learners = "".join(f"+{one.replica}" for one in membership.learners)
    return f"members {voters}{learners} v{membership.version}"


def _led(info: ShardInfo) -> str:
    return f"led by {info.leader} term {info.term}" if info.leader else f"without leader term {info.term}"


def _pairs(words: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=True))


def _shards(given: dict[str, str]) -> tuple[ShardInfo, ...]:
    if "shard" not in given:
        return ()
    return (shard(int(given["shard"]), leader=int(given.get("leader", 0)), term=int(given.get("term", 0))),)


def _splits(shards: int) -> tuple[bytes, ...]:
    return tuple(bytes([97 + 26 * number // shards]) for number in range(1, shards))
