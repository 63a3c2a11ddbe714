"""Commands on keys: put get delete incr mput mget scan."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from zkv.cli import options as o
from zkv.cli.formats import Format, json_field, write_row
from zkv.cli.render import note, print_bytes, print_json, row_json
from zkv.errors import InvalidRequest

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The key.")]


def put(
    key: KeyArgument,
    value: Annotated[str | None, typer.Argument(metavar="VALUE", help="The value.")] = None,
    file: Annotated[Path | None, typer.Option(help="Take the value from a file (`-`: stdin).", metavar="PATH")] = None,
    if_version: Annotated[int | None, typer.Option(help="Only if the entry has this version.", metavar="N")] = None,
    if_absent: Annotated[bool, typer.Option("--if-absent", help="Only if there is no entry.")] = False,
    w: o.WriteOption = "majority",
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Store VALUE under KEY and print the new version.

    Example: zkv put user:42 Ada --if-absent
    """
    if (value is None) == (file is None):
        raise InvalidRequest("a put needs VALUE or --file, one of them")
    data = o.argument_bytes(value) if value is not None else _file_bytes(file)
    with o.connected(address, timeout) as client:
        version = client.put(o.argument_bytes(key), data, table=table, if_version=if_version, if_absent=if_absent, w=w)
    print_json({"version": version}) if as_json else print(version)


def get(
    key: KeyArgument,
    r: o.ReadOption = "linearizable",
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Print the value of KEY; exit with 3 if there is none.

    Example: zkv get user:42 --json
    """
    name = o.argument_bytes(key)
    with o.connected(address, timeout) as client:
        entry = client.get_entry(name, table=table, r=r)
    if entry is None:
        raise _no_such_key(key)
    if as_json:
        receipt = entry.receipt
        told = {"version": entry.version, "shard": receipt.shard, "node": receipt.node}
        print_json(row_json(name, entry.value) | told | ({"stale_ms": receipt.stale_ms} if r == "any" else {}))
    else:
        print_bytes(entry.value)


def delete(
    key: KeyArgument,
    if_version: Annotated[int | None, typer.Option(help="Only if the entry has this version.", metavar="N")] = None,
    w: o.WriteOption = "majority",
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Remove KEY; exit with 3 if it was not there.

    Example: zkv delete user:42
    """
    with o.connected(address, timeout) as client:
        existed = client.delete(o.argument_bytes(key), table=table, if_version=if_version, w=w)
    if as_json:
        print_json({"deleted": existed})
    if not existed:
        raise _no_such_key(key)


def incr(
    key: KeyArgument,
    by: Annotated[int, typer.Option("--by", metavar="N", help="What to add; may be negative.")] = 1,
    w: o.WriteOption = "majority",
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Add to the decimal integer under KEY (0 if there is none) and print the sum.

    Example: zkv incr visits --by 10
    """
    with o.connected(address, timeout) as client:
        total = client.increment(o.argument_bytes(key), by, table=table, w=w)
    print_json({"value": total}) if as_json else print(total)


def mput(
    pairs: Annotated[list[str], typer.Argument(metavar="KEY VALUE...", help="Keys and values in turns.")],
    w: o.WriteOption = "majority",
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Store several values at once, each on its own (not atomic), and print how many.

    Example: zkv mput user:42 Ada user:43 Grace
    """
    if len(pairs) % 2:
        raise InvalidRequest(f"the last key, {pairs[-1]!r}, has no value")
    words = [o.argument_bytes(word) for word in pairs]
    rows = dict(zip(words[::2], words[1::2], strict=True))
    with o.connected(address, timeout) as client:
        versions = client.mput(rows, table=table, w=w)
    if as_json:
        print_json([json_field("key", key) | {"version": version} for key, version in versions.items()])
    else:
        print(len(versions))


def mget(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="The keys.")],
    r: o.ReadOption = "linearizable",
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Print several rows, key TAB value each; exit with 3 if one is missing.

    Example: zkv mget user:42 user:43
    """
    with o.connected(address, timeout) as client:
        found = client.mget([o.argument_bytes(key) for key in keys], table=table, r=r)
    missing = [key for key, value in found.items() if value is None]
    if as_json:
        print_json([row_json(key, value) for key, value in found.items()])
    else:
        write = write_row(Format.tsv)
        sys.stdout.buffer.writelines(write(key, value) for key, value in found.items() if value is not None)
        sys.stdout.buffer.flush()
    if missing:
        raise _no_such_key(", ".join(key.decode(errors="replace") for key in missing))


def scan(
    prefix: Annotated[str | None, typer.Option(help="Only keys that begin with this.", metavar="TEXT")] = None,
    start: Annotated[str | None, typer.Option(help="From this key on (range tables).", metavar="KEY")] = None,
    end: Annotated[str | None, typer.Option(help="Up to this key, without it (range tables).", metavar="KEY")] = None,
    limit: Annotated[int | None, typer.Option(help="So many rows at most.", metavar="N", min=1)] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="From the end (range tables).")] = False,
    table: o.TableOption = o.TABLE,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Print rows, key TAB value each: of a range table in key order, of a hash table in no useful order.

    Example: zkv scan --prefix user: --limit 10
    """
    first, last, begin = (None if text is None else o.argument_bytes(text) for text in (start, end, prefix))
    write = write_row(Format.jsonl if as_json else Format.tsv)
    with o.connected(address, timeout) as client:
        rows = client.scan(start=first, end=last, prefix=begin, limit=limit, reverse=reverse, table=table)
        sys.stdout.buffer.writelines(write(key, value) for key, value in rows)
    sys.stdout.buffer.flush()


def _no_such_key(names: str) -> typer.Exit:
    note(f"zkv: no such key: {names}")
    return typer.Exit(o.NO_SUCH_KEY)


def _file_bytes(file: Path | None) -> bytes:
    assert file is not None, "one of VALUE and --file is there"
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
