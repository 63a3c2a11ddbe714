"""Options that many commands share, and the client that they describe."""

import os
import sys
from typing import Annotated

import typer

import zkv
from zkv.errors import InvalidRequest

FAILED, USAGE, NO_SUCH_KEY, UNAVAILABLE = 1, 2, 3, 4  # exit codes beside 0 (README)

AddressOption = Annotated[
    str,
    typer.Option(
        "--address", envvar="ZKV_ADDRESS", metavar="HOST:PORT[,...]", help="A coordinator or node, or several."
    ),
]
TableOption = Annotated[str, typer.Option("--table", "-t", metavar="NAME", help="The table.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.001, max=600, help="For each request.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WriteOption = Annotated[
    str,
    typer.Option("--w", metavar="LEVEL", help="Copies on disk before the answer: majority, 1, 2, ... or all."),
]
ReadOption = Annotated[str, typer.Option("--r", metavar="LEVEL", help="linearizable, or any (may be stale).")]

ADDRESS = "127.0.0.1:7400"
TABLE = "default"
TIMEOUT_S = 5.0


def connected(address: str, timeout_s: float = TIMEOUT_S) -> zkv.Client:
    """A client for `--address`; use it as a context manager."""
    return zkv.connect(address, timeout_s=timeout_s)


def ask_first(question: str, *, yes: bool, consent: str) -> None:
    """Go on only at the word of a person, or of `--yes`, which `consent` says what it does.

    Raises InvalidRequest where nobody can be asked; typer.Abort at a no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidRequest("nobody can be asked, for stdin is no terminal", advice=f"--yes {consent}")
    typer.confirm(question, abort=True)


def argument_bytes(text: str) -> bytes:
    """The bytes that the shell passed, also where they are no text."""
    return os.fsencode(text)
