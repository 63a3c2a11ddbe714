"""Scans against a plain sorted list: every table, direction, bound and cursor, also across splits."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.routing.fake_cluster import FakeCluster
from zkv import errors, limits
from zkv.core.cluster.shardmap import Partitioner
from zkv.core.routing import operations as ops
from zkv.core.routing.scan import Scan, ScanPage, after_prefix
from zkv.core.shard.commands import ScanGroup

KEYS = [b"%s%02d" % (letter, number) for letter in (b"a", b"b", b"c") for number in range(40)]


def range_cluster() -> FakeCluster:
    return FakeCluster(partitioner=Partitioner.RANGE, splits=(b"a20", b"b", b"b39", b"z"))


def fill(cluster: FakeCluster, keys: list[bytes] = KEYS) -> None:
    cluster.result(ops.mput(dict.fromkeys(keys, b"v")))


def rows(cluster: FakeCluster, scan: Scan, *, most: int | None = None) -> list[bytes]:
    """The keys of a scan, at most that many of them (as a caller who stops there would have)."""
    seen: list[bytes] = []
    while (request := scan.next_request()) is not None:
        page = cluster.result(request)
        assert isinstance(page, ScanPage), page
        scan.arrived(page)
        for row in page.rows:
            if len(seen) == most:
                return seen
            seen.append(row[0])
            scan.handed_out(page, row)
        scan.page_handed_out(page)
    return seen


bound = st.one_of(st.none(), st.sampled_from([*KEYS, b"a", b"b", b"b3", b"zz", b"A"]))
prefix = st.sampled_from([None, b"", b"a", b"b3", b"b39", b"zz", b"\xff"])


@given(start=bound, end=bound, prefix=prefix, limit=st.sampled_from([None, 0, 1, 7, 500]), reverse=st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_range_tables_scan_is_what_a_sorted_list_gives(
    start: bytes | None, end: bytes | None, prefix: bytes | None, limit: int | None, reverse: bool
) -> None:
    cluster = range_cluster()
    fill(cluster)
    scan = Scan("default", start=start, end=end, prefix=prefix, limit=limit, reverse=reverse)
    inside = [
        key
        for key in sorted(KEYS, reverse=reverse)
        if (start or b"") <= key and (not end or key < end) and key.startswith(prefix or b"")
    ]
    assert rows(cluster, scan) == inside[:limit]


@given(start=bound, end=bound, prefix=prefix, reverse=st.booleans())
@settings(max_examples=50, deadline=None)
def test_a_hash_tables_scan_gives_each_matching_row_once(
    start: bytes | None, end: bytes | None, prefix: bytes | None, reverse: bool
) -> None:
    cluster = FakeCluster(shards=5)
    fill(cluster)
    seen = rows(cluster, Scan("default", start=start, end=end, prefix=prefix, reverse=reverse))
    inside = [key for key in KEYS if (start or b"") <= key and (not end or key < end) and key.startswith(prefix or b"")]
    assert sorted(seen) == inside


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("partitioner", list(Partitioner))
@pytest.mark.parametrize("stop", [0, 1, 19, 20, 21, 60, 119, 120])
def test_a_cursor_resumes_after_the_last_row_even_across_a_split(
    partitioner: Partitioner, reverse: bool, stop: int
) -> None:
    cluster = range_cluster() if partitioner is Partitioner.RANGE else FakeCluster(shards=3)
    fill(cluster)
    scan = Scan("default", reverse=reverse)
    seen = rows(cluster, scan, most=stop)
    middle = cluster.shards[2].info.start + b"\x01"  # type: ignore[index]
    cluster.split(2, middle)
    cursor = scan.cursor
    rest = rows(cluster, Scan("default", reverse=reverse, cursor=cursor)) if cursor is not None else []
    assert sorted(seen + rest) == KEYS
    assert len(seen) == stop


def test_rows_written_and_removed_meanwhile_never_repeat_or_hide_others() -> None:
    cluster = range_cluster()
    fill(cluster)
    scan = Scan("default", limit=None)
    seen = rows(cluster, scan, most=50)
    cluster.result(ops.mdelete([seen[-1], b"a00", b"c00"]))
    cluster.result(ops.mput({b"a000": b"v", b"c39x": b"v"}))
    rest = rows(cluster, Scan("default", cursor=scan.cursor))
    assert seen + rest == [key for key in KEYS if key != b"c00"] + [b"c39x"]


def test_a_page_is_no_larger_than_the_limit_and_no_page_follows_the_last() -> None:
    cluster = range_cluster()
    fill(cluster)
    scan = Scan("default", limit=25)
    assert len(rows(cluster, scan)) == 25
    limits_asked = [group.limit for _, group in cluster.groups(ScanGroup)]  # type: ignore[attr-defined]
    assert limits_asked == [25, 5]
    assert Scan("default").next_request().items[0].limit == limits.SCAN_PAGE_ROWS_MAX  # type: ignore[union-attr, attr-defined]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("partitioner", list(Partitioner))
def test_a_shard_of_many_pages_gives_each_row_once(partitioner: Partitioner, reverse: bool) -> None:
    cluster = FakeCluster(shards=1, partitioner=partitioner)
    keys = [b"%05d" % number for number in range(2_300)]
    for start in range(0, len(keys), 1_000):
        fill(cluster, keys[start : start + 1_000])
    assert sorted(rows(cluster, Scan("default", reverse=reverse))) == keys
    assert rows(cluster, Scan("default", prefix="0222")) == keys[2_220:2_230] or partitioner is Partitioner.HASH
    assert len(rows(cluster, Scan("default", limit=1_500))) == 1_500


def test_a_scan_that_is_complete_has_no_cursor_and_one_at_its_start_has() -> None:
    cluster = range_cluster()
    fill(cluster)
    scan = Scan("default")
    beginning = scan.cursor
    assert rows(cluster, scan) == KEYS
    assert scan.cursor is None
    assert rows(cluster, Scan("default", cursor=beginning)) == KEYS
    assert Scan("default", limit=0).next_request() is None


@pytest.mark.parametrize("cursor", ["", "x", "f?", "r", "fAAAA", "f" + "QUFB" * 3_000, "fé"])
def test_a_cursor_that_no_scan_in_this_direction_gave_is_refused(cursor: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        Scan("default", cursor=cursor)


def test_pages_are_asked_of_any_replica_where_the_reader_allows_it() -> None:
    cluster = range_cluster()
    fill(cluster)
    assert rows(cluster, Scan("default", r="any")) == KEYS
    asked = {address for address, _ in cluster.groups(ScanGroup)}  # type: ignore[arg-type]
    assert len(asked) > 1


@pytest.mark.parametrize(
    ("prefix", "after"), [(b"", b""), (b"a", b"b"), (b"a\xff", b"b"), (b"\xff\xff", b""), (b"a\x00", b"a\x01")]
)
def test_the_end_of_a_prefix(prefix: bytes, after: bytes) -> None:
    assert after_prefix(prefix) == after
