"""What nodes say of their replicas, and what of it is news for the map (rule 24)."""

from collections.abc import Collection, Iterator

from msgspec import structs

from zkv.core.cluster.mapstate import ShardMap, report_order
from zkv.core.cluster.messages import ShardReport
from zkv.core.cluster.shardmap import NodeState
from zkv.core.raft.membership import find
from zkv.core.raft.messages import Member
from zkv.core.raft.quorum import majority
from zkv.core.shard.descriptor import ShardInfo, ShardState
from zkv.ids import NodeId, ReplicaId, ShardId


def merged(held: ShardInfo, told: ShardInfo) -> ShardInfo:
    """The shard after hearing a report: each part only moves forward, so that an old leader turns nothing back.

    Range and membership go by the epoch, the leader by the term, for a leader can be known before the membership that
    it has not applied yet. A report without a leader never hides a known one. State and table are the map's own.
    """
    info = held
    if (told.range_version, told.membership.version) > (held.range_version, held.membership.version):
        info = structs.replace(info, membership=told.membership)
        if told.range_version > held.range_version:
            info = structs.replace(info, start=told.start, end=told.end, range_version=told.range_version)
    if told.leader and (told.term > held.term or (told.term == held.term and not held.leader)):
        info = structs.replace(info, leader=told.leader, term=told.term)
    assert report_order(info) >= report_order(held), "a report turned the map back"
    return info


class Reports:
    """The last report of every replica, by node, and the news among them that the map does not show yet."""

    def __init__(self) -> None:
        self.held: dict[NodeId, dict[ReplicaId, ShardReport]] = {}
        self.leading: dict[ShardId, ShardReport] = {}
        self._news: dict[ShardId, ShardInfo] = {}
        self._unplaced: set[ShardId] = set()  # reported, and not in the map: dropped, or not shown yet
        self._revision = 0  # counts changes of what is held
        self._found: tuple[object, bool] = (None, False)  # of `misplaced`: from what, and what came of it

    def clear(self) -> None:
        """Nothing was heard."""
        self._revision += 1
        self.held.clear()
        self.leading.clear()
        self._news.clear()
        self._unplaced.clear()

    def registered(self, node: NodeId, reports: tuple[ShardReport, ...], shard_map: ShardMap) -> None:
        """The node said all it holds: what it said before is void."""
        self._revision += 1
        self.held[node] = {}
        self.take(node, reports, shard_map)

    def take(self, node: NodeId, reports: tuple[ShardReport, ...], shard_map: ShardMap) -> bool:
        """The node said what has changed; whether anything of it may call for a change of the map, or an order."""
        own = self.held[node]
        is_news = False
        self._revision += bool(reports)
        for report in reports:
            is_news |= report.replica not in own
            own[report.replica] = report
            is_news |= self._take(report, shard_map)
        return is_news

    def _take(self, report: ShardReport, shard_map: ShardMap) -> bool:
        """One report; whether it tells more than is known."""
        shard = report.info.shard
        shown = shard_map.shards.get(shard)
        if shown is None:
            self._unplaced.add(shard)
        if shown is None or shown.state == ShardState.DROPPING:
            return False
        held = self._news.get(shard) or shown
        self._note_leading(report)
        info = merged(held, report.info)
        if info == shown:
            return False
        self._news[shard] = info
        return True

    def gone(self, node: NodeId, replica: ReplicaId) -> None:
        """The node holds the replica no more."""
        self._revision += 1
        self.held.get(node, {}).pop(replica, None)

    def has(self, member: Member) -> bool:
        """Whether the member's node reported it. (A node's reports are of its present folder.)"""
        return member.replica in self.held.get(member.node, {})

    def news(self, shard_map: ShardMap) -> list[ShardInfo]:
        """The shards of which more is known than the map shows, each as it should be shown."""
        shown = {shard for shard in self._unplaced if shard in shard_map.shards}
        if shown:  # a split is in the map by now, and what its replicas said before counts
            self._unplaced -= shown
            for report in [report for reports in self.held.values() for report in reports.values()]:
                if report.info.shard in shown:
                    self._take(report, shard_map)
        fresh: dict[ShardId, ShardInfo] = {}
        for shard, info in self._news.items():
            held = shard_map.shards.get(shard)
            if held is None or held.state == ShardState.DROPPING:
                continue
            after = merged(held, info)
            if after != held:
                fresh[shard] = after
        self._news = fresh
        return list(fresh.values())

    def forget(self, node: NodeId) -> None:
        """The node is no more."""
        self._revision += 1
        self.held.pop(node, None)

    def misplaced(self, shard_map: ShardMap, next_shard: ShardId, unborn: Collection[ShardId]) -> bool:
        """Whether there are `strays` or `outcasts`: asked all the time, so it is found out once for each state."""
        basis = (shard_map, shard_map.version, next_shard, frozenset(unborn), self._revision)
        if basis != self._found[0]:
            is_found = any(self.strays(shard_map, next_shard, unborn)) or any(self.outcasts(shard_map))
            self._found = (basis, is_found)
        return self._found[1]

    def strays(
        self, shard_map: ShardMap, next_shard: ShardId, unborn: Collection[ShardId]
    ) -> Iterator[tuple[NodeId, ShardReport]]:
        """Replicas of shards that were dropped: of an id given out already, and in the map no more.

        A shard id that was not given out yet is left alone: then it is this coordinator that does not know. So are the
        `unborn`: their replicas come into being by a split that the map does not show yet.
        """
        for node, reports in self.held.items():
            for report in reports.values():
                shard = report.info.shard
                if 0 < shard < next_shard and shard not in shard_map.shards and shard not in unborn:
                    yield node, report

    def outcasts(self, shard_map: ShardMap) -> Iterator[tuple[Member, ShardInfo]]:
        """Replicas on nodes that are up, and members no more: their groups tell them to go (rule 22).

        Not before a majority of the members has applied the removal: until then somebody may need their word to be
        elected, for whoever has not applied it counts by the members before.
        """
        for node, reports in self.held.items():
            info = shard_map.nodes.get(node)
            if info is None or info.state != NodeState.UP:
                continue
            for report in reports.values():
                shard = shard_map.shards.get(report.info.shard)
                if shard is None or shard.state != ShardState.ACTIVE or find(shard.membership, report.replica):
                    continue
                if report.info.membership.version <= shard.membership.version and self._is_known(shard):
                    yield Member(report.replica, node, info.incarnation), shard

    def _is_known(self, shard: ShardInfo) -> bool:
        """Whether a majority of the shard's voters has reported the members that the map shows."""
        reports = (self.held.get(voter.node, {}).get(voter.replica) for voter in shard.membership.voters)
        known = sum(
            report is not None and report.info.membership.version >= shard.membership.version for report in reports
        )
        return known >= majority(len(shard.membership.voters))

    def _note_leading(self, report: ShardReport) -> None:
        last = self.leading.get(report.info.shard)
        if report.leading and (last is None or report.info.term >= last.info.term):
            self.leading[report.info.shard] = report
