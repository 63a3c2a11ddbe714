"""How the commands print: rows, aligned tables, bars and JSON. Colour only on a terminal."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence

from zkv.cli.formats import json_field

_FILE_WIDTH = 1_000  # where there is no terminal, no line is broken


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Aligned columns on stdout: numbers to the right, the rest to the left. A number is shown with its thousands."""
    # Loaded here because most commands print no table, and rich takes longer to load than they take to run.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold", title=title or None, title_justify="left")
    for number, name in enumerate(columns):
        numeric = bool(cells) and all(isinstance(row[number], int | float | None) for row in cells)
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    for row in cells:
        table.add_row(*(Text(cell_text(cell)) for cell in row))
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=_FILE_WIDTH)
    console.print(table)


def show_rows(rows: Sequence[Mapping[str, object]], *, as_json: bool) -> None:
    """Rows of the same fields: as a JSON array of objects, or as a table whose columns are the fields."""
    if as_json:
        print_json(rows)
    elif rows:
        show_table([name.replace("_", " ") for name in rows[0]], [list(row.values()) for row in rows])


def cell_text(cell: object) -> str:
    """One cell of a table."""
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, list | tuple):
        return " ".join(map(str, cell))
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)


def bar(share: float, most: float, width: int = 40) -> str:
    """A bar of `width` characters for `most`, in eighths of a character."""
    eighths = round(width * 8 * share / most) if most else 0
    whole, rest = divmod(eighths, 8)
    return "█" * whole + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[rest]


def human_bytes(count: int) -> str:
    """In the unit that leaves one to four digits: `3.4 MiB`."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def row_json(key: bytes, value: bytes | None) -> dict[str, object]:
    """A row as a JSON object: text, or base64 where it is no UTF-8; the value is null where there is none."""
    shown: dict[str, object] = dict(json_field("key", key))
    return shown | ({"value": None} if value is None else json_field("value", value))


def print_json(data: object) -> None:
    """One JSON document on stdout, on one line."""
    print(json.dumps(data, ensure_ascii=False))


def print_bytes(data: bytes) -> None:
    """As they are, and a newline."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


def note(text: str) -> None:
    """A line for people on stderr, where it does not mix with data."""
    print(text, file=sys.stderr)
