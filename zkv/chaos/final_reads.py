"""A linearizable read of every key that the load may have used, once all faults are over."""

from collections.abc import Sequence
from pathlib import Path

import zkv
from zkv.chaos.figures import FINAL
from zkv.chaos.history_file import HistoryFile
from zkv.chaos.keys import Keys, keys_of
from zkv.checkers.history import Args, Outcome, Verb, text

_TIMEOUT_S = 30.0


def read_all(client: zkv.Client, tables: Sequence[str], generations: int, path: Path) -> None:
    """Read the keys of the first generations, and write that history. Raises ZkvError where a read fails."""
    with HistoryFile(path) as history:
        for table in tables:
            for generation in range(generations):
                keys = keys_of(table, generation)
                _read_rows(client, keys, history)
                _read_set(client, keys, history)


def _read_rows(client: zkv.Client, keys: Keys, history: HistoryFile) -> None:
    wanted = keys.registers + keys.counters
    tokens = {key: history.begin(FINAL, keys.named(key), Verb.GET, Args()) for key in wanted}
    for key, value in client.mget(wanted, table=keys.table, timeout_s=_TIMEOUT_S).items():
        history.end(tokens[key], Outcome(value=None if value is None else text(value), found=value is not None))


def _read_set(client: zkv.Client, keys: Keys, history: HistoryFile) -> None:
    token = history.begin(FINAL, keys.named(keys.set_prefix), Verb.MEMBERS, Args())
    rows = client.scan(prefix=keys.set_prefix, table=keys.table, timeout_s=_TIMEOUT_S)
    members = tuple(text(key[len(keys.set_prefix) :]) for key, _ in rows)
    history.end(token, Outcome(members=members))
