"""How large a run is, and what is left out of it: with the seed, all that a run depends on."""

import msgspec

from zkv.errors import InvalidRequest


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A run: bursts of trouble under load, each followed by peace, in which little is asked.

    What a shrunk plan leaves out (kinds of fault, single strikes, clients) does not change the draws of the rest.
    """

    bursts: int = 1
    burst_ms: int = 8_000
    calm_ms: int = 0  # of peace after each burst but the last, whose peace is the settling
    clients: int = 4
    quiet: bool = False  # no faults at all
    without: tuple[str, ...] = ()  # kinds of fault
    skip: tuple[str, ...] = ()  # single strikes: "kill 3" is the third of its kind
    without_clients: tuple[int, ...] = ()  # by number, from 1
    operations: int = 0  # of each client at most; 0: as many as fit
    coordinators: int = 1
    elastic: bool = False  # nodes come, go and are moved from, beside all else (zkv.sim.elastic)


def decode_plan(text: str) -> Plan:
    """A plan as `encode_plan` writes it. Raises InvalidRequest."""
    try:
        return msgspec.json.decode(text, type=Plan)
    except msgspec.MsgspecError as error:
        raise InvalidRequest(f"a plan cannot be read: {error}") from error


def encode_plan(plan: Plan) -> str:
    """As one line of JSON, without what is usual."""
    return msgspec.json.encode(plan).decode()
