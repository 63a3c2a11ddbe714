"""Commands on tables: tables, table create|drop|split|merge|show."""

from typing import Annotated, Literal

import typer

from zkv.cli import options as o
from zkv.cli.cluster import table_named
from zkv.cli.overview import look
from zkv.cli.render import print_json, show_rows

app = typer.Typer(help="Create, drop, split, merge and show tables.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The table's name.")]


def tables(
    address: o.AddressOption = o.ADDRESS, timeout: o.TimeoutOption = o.TIMEOUT_S, as_json: o.JsonOption = False
) -> None:
    """Show each table: its partitioner, replicas, shards and keys.

    Example: zkv tables
    """
    with o.connected(address, timeout) as client:
        show_rows(look(client).table_rows(), as_json=as_json)


@app.command()
def create(
    name: NameArgument,
    partitioner: Annotated[
        Literal["hash", "range"], typer.Option(help="hash scatters keys; range keeps their order.")
    ] = "hash",
    replicas: Annotated[int, typer.Option(help="Copies of each shard.", metavar="N", min=1, max=7)] = 3,
    shards: Annotated[int | None, typer.Option(help="How many shards to begin with.", metavar="N", min=1)] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="Where shards part (range tables); may be repeated.", metavar="KEY")
    ] = None,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Create a table.

    Example: zkv table create events --partitioner range --split g --split p
    """
    points = tuple(o.argument_bytes(point) for point in split or ())
    with o.connected(address, timeout) as client:
        client.create_table(name, partitioner=partitioner, replicas=replicas, shards=shards, splits=points)


@app.command()
def drop(
    name: NameArgument,
    yes: o.YesOption = False,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
) -> None:
    """Drop a table and all its rows. Asks first; where nobody can be asked, it needs --yes.

    Example: zkv table drop events --yes
    """
    o.ask_first(f"Drop the table {name} and all its rows?", yes=yes, consent=f"drops the table {name}")
    with o.connected(address, timeout) as client:
        client.drop_table(name)


@app.command()
def split(
    name: NameArgument,
    at: Annotated[str, typer.Option(metavar="KEY", help="The first key of the new shard.")],
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Split the shard of a range table that has KEY: a new shard, on the same nodes, has KEY and what follows.

    Nothing is copied, and clients read and write meanwhile. Where a shard begins at KEY already, nothing is done.

    Example: zkv table split events --at m
    """
    key = o.argument_bytes(at)
    with o.connected(address, timeout) as client:
        client.split_table(name, key)
        seen = look(client)
    shards = seen.map.shards_of(table_named(seen.map, name).table)
    place = next(number for number, info in enumerate(shards) if info.owns(key))
    text = key.decode(errors="backslashreplace")
    row: dict[str, object] = {"table": name, "at": text, "left": shards[place - 1].shard, "right": shards[place].shard}
    if as_json:
        print_json(row)
    else:
        print(f"shard {row['left']} ends and shard {row['right']} begins at {text!r}")


@app.command()
def merge(
    name: NameArgument,
    at: Annotated[str, typer.Option(metavar="KEY", help="The border: the first key of the right one of the two.")],
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Merge the two shards of a range table that part at KEY: the left one takes the right one in, which must be small.

    What is asked of the right one waits meanwhile, some tenths of a second. Where no shard begins at KEY, nothing is
    done.

    Example: zkv table merge events --at m
    """
    key = o.argument_bytes(at)
    with o.connected(address, timeout) as client:
        client.merge_shards(name, key)
        seen = look(client)
    info = next(own for own in seen.map.shards_of(table_named(seen.map, name).table) if own.owns(key))
    text = key.decode(errors="backslashreplace")
    if as_json:
        print_json({"table": name, "at": text, "shard": info.shard})
    else:
        print(f"shard {info.shard} has what was on either side of {text!r}")


@app.command()
def show(
    name: NameArgument,
    address: o.AddressOption = o.ADDRESS,
    timeout: o.TimeoutOption = o.TIMEOUT_S,
    as_json: o.JsonOption = False,
) -> None:
    """Show one table and its shards.

    Example: zkv table show default --json
    """
    with o.connected(address, timeout) as client:
        seen = look(client)
    table_named(seen.map, name)
    table = next(row for row in seen.table_rows() if row["table"] == name)
    shards = seen.shard_rows(name)
    if as_json:
        print_json(table | {"shards": shards})
        return
    show_rows([table], as_json=False)
    print()
    show_rows(shards, as_json=False)
