"""Commands that move many rows: import and export."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, BinaryIO, Protocol, TypeVar

import typer

from zkv import limits
from zkv.cli import options as o
from zkv.cli.formats import Format, Line, read_lines, write_row
from zkv.cli.render import note, print_json
from zkv.client.driver import Driver
from zkv.core.routing import operations
from zkv.errors import Timeout, Unavailable, ZkvError

_BATCH_ROWS = 500
_BATCH_BYTES = limits.BATCH_BYTES_MAX // 4
_OUTSTANDING = 8  # batches: enough to keep every leader busy while the next rows are read
_FAULTS_SHOWN = 100
_FAULTS_KEPT = 100_000
_TIMEOUT_S = 30.0
_TELL_ROWS = 500

T = TypeVar("T")

FORMATS_HELP = """tsv: key, TAB, value on each line; the value is all that follows the first TAB, as it is. Only a
newline inside a row is written differently, as DLE n (DLE is the control character 0x10), a TAB inside a key as DLE t,
and DLE as DLE DLE. csv: two columns, no header (RFC 4180). jsonl: {"key": ..., "value": ...} on each line, or
key_base64 and value_base64 for bytes that are no text."""

FormatOption = Annotated[Format, typer.Option("--format", "-f", help="How the rows are written.")]


class Tell(Protocol):
    """Where it is told how far a transfer is."""

    def __call__(self, rows: int) -> None: ...


class Loader:
    """Puts rows in, many batches in flight. `stored` counts what is acknowledged, `faults` (line, why) what is not.

    `broken` is why going on makes no sense: the cluster does not answer.
    """

    def __init__(self, driver: Driver, table: str) -> None:
        self.stored = 0
        self.refused = 0
        self.faults: list[tuple[int, str]] = []
        self.broken: ZkvError | None = None
        self._driver = driver
        self._table = table
        self._batch: dict[bytes, bytes] = {}
        self._numbers: dict[bytes, int] = {}
        self._bytes = 0

    def load(self, lines: Iterable[Line]) -> None:
        """Put all rows in, unless the cluster stops answering; returns when every one that was sent is answered."""
        for line in lines:
            self._add(line)
            if self.broken is not None:
                break
        self._finish()

    def _add(self, line: Line) -> None:
        if line.fault:
            self._refuse(line.number, line.fault)
            return
        size = len(line.key) + len(line.value) + operations.OPERATION_BYTES
        # A key that comes again waits for the first to be acknowledged: the later line must win.
        if line.key in self._numbers:
            self._finish()
        elif len(self._batch) >= _BATCH_ROWS or self._bytes + size > _BATCH_BYTES:
            self._send()
        self._batch[line.key] = line.value
        self._numbers[line.key] = line.number
        self._bytes += size

    def _finish(self) -> None:
        self._send()
        self._driver.drain()

    def _send(self) -> None:
        if not self._batch:
            return
        while self._driver.outstanding >= _OUTSTANDING:
            self._driver.turn()
        rows, self._batch, self._bytes = self._batch, {}, 0
        self._driver.submit(operations.mput(rows, table=self._table), lambda result: self._answered(rows, result))
        self._driver.turn(most_ms=0)

    def _answered(self, rows: dict[bytes, bytes], result: object) -> None:
        results: dict[bytes, object] = {}
        if isinstance(result, ZkvError):
            results = result.results or dict.fromkeys(rows, result)
            if isinstance(result, Timeout | Unavailable):
                self.broken = result
        for key in rows:
            number = self._numbers.pop(key)
            fault = results.get(key)
            if isinstance(fault, ZkvError):
                self._refuse(number, str(fault))
            else:
                self.stored += 1

    def _refuse(self, number: int, why: str) -> None:
        self.refused += 1
        if len(self.faults) < _FAULTS_KEPT:
            self.faults.append((number, why))


def import_rows(
    path: Annotated[str, typer.Argument(metavar="[FILE]", help="The rows; `-` or nothing: stdin.")] = "-",
    form: FormatOption = Format.tsv,
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = _TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Put the rows of a file into a table; exit with 1 if a line was refused.

    Example: zkv import names.tsv --table names
    """
    with _reading(path) as source, Driver(address, timeout_s=timeout) as driver:
        driver.ready()
        loader = Loader(driver, table)
        with _progress("rows in", source, _size(path)) as tell:
            loader.load(_told(read_lines(source, form), tell))
    _report(loader, as_json=as_json)
    if loader.broken is not None:
        raise loader.broken
    if loader.refused:
        raise typer.Exit(o.FAILED)


def _report(loader: Loader, *, as_json: bool) -> None:
    faults = sorted(loader.faults)
    if as_json:
        listed = [{"line": number, "why": why} for number, why in faults]
        print_json({"rows": loader.stored, "refused": loader.refused, "lines": listed})
    else:
        note(f"{loader.stored:,} rows in, {loader.refused:,} lines refused")
        for number, why in faults[:_FAULTS_SHOWN]:
            note(f"line {number}: {why}")
        if loader.refused > _FAULTS_SHOWN:
            note(f"and {loader.refused - _FAULTS_SHOWN:,} more (--json lists them)")


def export_rows(
    path: Annotated[str, typer.Argument(metavar="[FILE]", help="Where to write; `-` or nothing: stdout.")] = "-",
    form: FormatOption = Format.tsv,
    prefix: Annotated[str | None, typer.Option(help="Only keys that begin with this.", metavar="TEXT")] = None,
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = _TIMEOUT_S,
) -> None:
    """Write all rows of a table, of a hash table in no useful order. A file that is there is replaced once all are had.

    Example: zkv export --table names | sort > names.tsv
    """
    write, begin = write_row(form), None if prefix is None else o.argument_bytes(prefix)
    with o.connected(address, timeout) as client:
        rows = client.scan(prefix=begin, table=table)
        with _writing(path) as target, _progress("rows out", None, None) as tell:
            target.writelines(write(key, value) for key, value in _told(rows, tell))
            target.flush()


def _reading(path: str) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if path == "-" else Path(path).open("rb")


@contextmanager
def _writing(path: str) -> Iterator[BinaryIO]:
    """The target. A file of rows is made beside its place: an export that fails leaves the one of yesterday alone."""
    target = Path(path).resolve()
    if path == "-":
        yield sys.stdout.buffer
    elif target.exists() and not target.is_file():  # a pipe or a device
        with target.open("wb") as opened:
            yield opened
    else:
        part = target.with_name(f"{target.name}.part")
        try:
            with part.open("wb") as file:
                yield file
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _size(path: str) -> int | None:
    return None if path == "-" or not Path(path).is_file() else Path(path).stat().st_size


def _told(rows: Iterable[T], tell: Tell) -> Iterator[T]:
    """The same rows; now and then `tell` hears how many."""
    count = 0
    for count, row in enumerate(rows, 1):
        yield row
        if not count % _TELL_ROWS:
            tell(count)
    tell(count)


@contextmanager
def _progress(what: str, source: BinaryIO | None, size: int | None) -> Iterator[Tell]:
    """A bar with the rate, on a terminal only. It is full when `source` is read to its `size`."""
    if not sys.stderr.isatty():
        yield lambda rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.fields[rows]:,} {task.description}, {task.fields[rate]:,}/s"))
    begun = time.monotonic()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=size, rows=0, rate=0)

        def tell(rows: int) -> None:
            rate = round(rows / max(time.monotonic() - begun, 0.001))
            done = source.tell() if source is not None and size is not None else 0
            shown.update(task, completed=done, rows=rows, rate=rate)

        yield tell
