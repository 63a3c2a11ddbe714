"""The sync client: the verbs, for any number of threads, over one I/O thread."""

import weakref
from collections.abc import Iterable, Mapping
from secrets import randbits
from types import TracebackType
from typing import TypeVar

from zkv.client.io_thread import IoThread
from zkv.client.pipeline import Pipeline
from zkv.client.rows import Rows
from zkv.client.turns import Given, Turns, deadline_after, parse_addresses
from zkv.client.waiting import Waiting
from zkv.core.cluster.shardmap import MapSnapshot
from zkv.core.routing import admin
from zkv.core.routing import operations as ops
from zkv.core.routing.operations import Bytes, Entry, KeyRequest, Level, Receipt, Request
from zkv.core.routing.scan import Scan
from zkv.net.clock import now_ms

T = TypeVar("T")


class Client:
    """A connection to a cluster. Thread-safe; many threads' requests travel together. Not for use after a fork.

    `addresses`: "HOST:PORT[,HOST:PORT...]" or several, of coordinators or nodes. `timeout_s`: of each call that
    names none, above 0 and at most 600. `direct` False: speak only to the given addresses, which pass requests on.
    Raises Unavailable if none of them answers in that time.

    Every verb ends within its timeout, in a result or in a ZkvError whose `effect` says what became of a write.
    """

    def __init__(self, *addresses: Given, timeout_s: float = 5.0, direct: bool = True) -> None:
        deadline_after(timeout_s, 0)
        self._timeout_s = timeout_s
        self._io = IoThread(Turns(parse_addresses(addresses), direct=direct))
        # Ends the thread of a client that was dropped without `close`.
        self._finalizer = weakref.finalize(self, self._io.stop, wait=False)
        try:
            self.shard_map()
        except BaseException:
            self.close()
            raise

    def put(
        self,
        key: Bytes,
        value: Bytes,
        *,
        table: str = "default",
        if_version: int | None = None,
        if_absent: bool = False,
        w: Level = "majority",
        timeout_s: float | None = None,
    ) -> int:
        """Store `value` under `key` and return the new version (0 if it is answered before its commit).

        `if_version`: only if the entry has this version (0: only if there is none); `if_absent`: only if there is none;
        else ConditionFailed. `w`: how many replicas have it on disk before this returns: "majority", "all" or a count.
        """
        request = ops.put(key, value, table=table, if_version=if_version, if_absent=if_absent, w=w)
        return self.ask(request, timeout_s=timeout_s).result()

    def get(
        self, key: Bytes, *, table: str = "default", r: str = "linearizable", timeout_s: float | None = None
    ) -> bytes | None:
        """The value, or None. `r`: "linearizable", or "any": from any replica, and so perhaps stale."""
        return self.ask(ops.get(key, table=table, r=r), timeout_s=timeout_s).result()

    def get_entry(
        self, key: Bytes, *, table: str = "default", r: str = "linearizable", timeout_s: float | None = None
    ) -> Entry | None:
        """The value with its version and a receipt, or None."""
        return self.ask(ops.get_entry(key, table=table, r=r), timeout_s=timeout_s).result()

    def delete(
        self,
        key: Bytes,
        *,
        table: str = "default",
        if_version: int | None = None,
        w: Level = "majority",
        timeout_s: float | None = None,
    ) -> bool:
        """Remove the entry; True if there was one. `if_version`: only that version, else ConditionFailed."""
        return self.ask(ops.delete(key, table=table, if_version=if_version, w=w), timeout_s=timeout_s).result()

    def increment(
        self, key: Bytes, by: int = 1, *, table: str = "default", w: Level = "majority", timeout_s: float | None = None
    ) -> int:
        """Add `by` to the decimal integer under `key` (no entry counts as 0) and return the sum, applied once."""
        return self.ask(ops.increment(key, by, table=table, w=w), timeout_s=timeout_s).result()

    def mput(
        self,
        rows: Mapping[bytes, Bytes] | Mapping[str, Bytes],
        *,
        table: str = "default",
        w: Level = "majority",
        timeout_s: float | None = None,
    ) -> dict[bytes, int]:
        """Store every row, each on its own, and return key -> version. Where some fail, the error has `.results`."""
        return self.ask(ops.mput(rows, table=table, w=w), timeout_s=timeout_s).result()

    def mget(
        self, keys: Iterable[Bytes], *, table: str = "default", r: str = "linearizable", timeout_s: float | None = None
    ) -> dict[bytes, bytes | None]:
        """Read every key, each on its own: key -> value or None. Where some fail, the error has `.results`."""
        return self.ask(ops.mget(keys, table=table, r=r), timeout_s=timeout_s).result()

    def mdelete(
        self, keys: Iterable[Bytes], *, table: str = "default", w: Level = "majority", timeout_s: float | None = None
    ) -> dict[bytes, bool]:
        """Remove every key, each on its own: key -> whether it was there. Where some fail, the error has `.results`."""
        return self.ask(ops.mdelete(keys, table=table, w=w), timeout_s=timeout_s).result()

    def scan(  # noqa: PLR0913  each names one side of the same window
        self,
        start: Bytes | None = None,
        end: Bytes | None = None,
        prefix: Bytes | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
        table: str = "default",
        r: str = "linearizable",
        cursor: str | None = None,
        timeout_s: float | None = None,
    ) -> Rows:
        """Iterate over (key, value) with start <= key < end and the prefix, at most `limit`.

        A range table's rows come in key order (`reverse`: against it), a hash table's each once, in no useful order.
        Each page is read on its own. The iterator's `cursor` resumes an equal scan after its last row.
        """
        scan = Scan(table, start=start, end=end, prefix=prefix, limit=limit, reverse=reverse, r=r, cursor=cursor)
        return Rows(scan, lambda request: self.ask(request, timeout_s=timeout_s))

    def receipt(self, request: KeyRequest[T], *, timeout_s: float | None = None) -> Receipt[T]:
        """Do a request of one key (`zkv.requests.put(...)` and so on): its result, and which replicas have it."""
        return self.ask(ops.with_receipt(request), timeout_s=timeout_s).result()

    def create_table(
        self,
        name: str,
        partitioner: str = "hash",
        *,
        replicas: int = 3,
        shards: int | None = None,
        splits: Iterable[Bytes] = (),
        timeout_s: float | None = None,
    ) -> None:
        """Make a table. `partitioner`: "hash" or "range"; `shards`: of a hash table, None: the default; `splits`: where
        the first shards of a range table part. TableExists if there is one of that name."""
        request = admin.create_table(
            name, randbits(62), partitioner=partitioner, replicas=replicas, shards=shards, splits=tuple(splits)
        )
        self.ask(request, timeout_s=timeout_s).result()

    def drop_table(self, name: str, *, timeout_s: float | None = None) -> None:
        """Drop a table and every row in it."""
        self.ask(admin.drop_table(name), timeout_s=timeout_s).result()

    def merge_shards(self, name: str, at: Bytes, *, timeout_s: float | None = None) -> None:
        """Merge the two shards of a range table that part at the key `at`. What is asked of the right one waits for a
        moment. Where no shard begins at `at`, nothing is done."""
        self.ask(admin.merge_shards(name, at), timeout_s=timeout_s).result()

    def split_table(self, name: str, at: Bytes, *, timeout_s: float | None = None) -> None:
        """Split the shard of a range table that has the key `at`: a new shard has it and what follows."""
        self.ask(admin.split_table(name, at), timeout_s=timeout_s).result()

    def status(self, *, timeout_s: float | None = None) -> dict[str, admin.Figures | None]:
        """The figures of every node and coordinator by its id; None for one that does not answer."""
        return self.ask(admin.status(), timeout_s=timeout_s).result()

    def shard_map(self, *, timeout_s: float | None = None) -> MapSnapshot:
        """Tables, nodes and shards, as this client knows them by the broadcast."""
        return self.ask(admin.shard_map(), timeout_s=timeout_s).result()

    def pipeline(self) -> Pipeline:
        """The same verbs, each of which returns at once with the future of its result."""
        return Pipeline(self.ask)

    def ask(self, request: Request[T], *, timeout_s: float | None = None) -> Waiting[T]:
        """Hand a request over (see `zkv.requests`) and return at once with the future of its result."""
        now = now_ms()
        deadline_ms = deadline_after(self._timeout_s if timeout_s is None else timeout_s, now)
        waiting: Waiting[T] = Waiting(self._io.relay)
        self._io.submit(request, waiting, deadline_ms, now)
        return waiting

    def close(self) -> None:
        """Close the connections. Calls under way end with Unavailable; later ones raise InvalidRequest."""
        self._finalizer.detach()
        self._io.stop()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(*addresses: Given, timeout_s: float = 5.0, direct: bool = True) -> Client:
    """A client of the cluster that has a coordinator or a node at one of these addresses (see Client)."""
    return Client(*addresses, timeout_s=timeout_s, direct=direct)
