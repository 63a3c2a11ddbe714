"""What to do about each refusal, how long to wait, and what to tell a caller whose time is up.

The table `RULES` is the whole policy: a reason that a shard may give -> the move that follows. The effect of a lost
answer is counted, not guessed: an attempt that was sent and not answered may have happened; one that was refused with
effect "none" did not; nothing else is ever called "none".
"""

from enum import Enum
from typing import Final, NamedTuple

from zkv.core.raft.ready import Rng
from zkv.core.routing.operations import WRITE
from zkv.core.routing.parts import Part
from zkv.core.shard.commands import EFFECT_DONE, EFFECT_UNKNOWN, Reason
from zkv.errors import Effect, InvalidRequest, Overloaded, ProtocolError, Timeout, TooLarge, Unavailable, ZkvError

ATTEMPT_MS: Final = 400  # an attempt without an answer for so long is made again elsewhere
ATTEMPT_MS_MAX: Final = 3_200
HOPS_MAX: Final = 3  # re-routes at once, before a pause
PAUSE_MS: Final = 25
PAUSE_MS_MAX: Final = 120
LAST_MS: Final = 20  # a first attempt so near the deadline would only turn effect "none" into "unknown"
_SLOW_FACTOR: Final = 4  # times the usual round trip: a loaded node must not be asked everything twice


class Move(Enum):
    """What follows a refusal."""

    REROUTE = 1  # adopt the news, ask who it names, at once
    PAUSE = 2  # the same after a pause
    RENUMBER = 3  # the numbers are void: new session, if the write cannot have happened
    HALVE = 4  # ask for less at once
    FAIL = 5  # no other attempt can end otherwise


class Rule(NamedTuple):
    """`blame`: the error if this was the last attempt. `heal`: the map is behind or wrong."""

    move: Move
    blame: type[ZkvError]
    heal: bool = False


RULES: Final[dict[Reason, Rule]] = {
    Reason.NOT_LEADER: Rule(Move.REROUTE, Unavailable),
    Reason.STALE_RANGE: Rule(Move.REROUTE, Unavailable, heal=True),
    Reason.NO_SHARD: Rule(Move.PAUSE, Unavailable, heal=True),
    Reason.OVERLOADED: Rule(Move.PAUSE, Overloaded),
    Reason.DISK_FULL: Rule(Move.FAIL, Overloaded),
    Reason.UNAVAILABLE: Rule(Move.PAUSE, Unavailable),
    Reason.TIMEOUT: Rule(Move.PAUSE, Timeout),
    Reason.SESSION_EXPIRED: Rule(Move.RENUMBER, Unavailable),
    Reason.WINDOW: Rule(Move.RENUMBER, Unavailable),
    Reason.LEVEL_NOT_REACHED: Rule(Move.FAIL, Timeout),
    Reason.TOO_LARGE: Rule(Move.HALVE, TooLarge),
    Reason.BAD_REQUEST: Rule(Move.FAIL, InvalidRequest),
    Reason.WRONG_CLUSTER: Rule(Move.PAUSE, ProtocolError, heal=True),  # FAIL where no address is of ours
}


def pause_ms(tries: int, hint_ms: int, rng: Rng) -> int:
    """How long to wait before attempt `tries` + 1: doubling, bounded, at least the node's hint, jittered by half."""
    base = max(min(PAUSE_MS_MAX, PAUSE_MS << min(tries, 8)), 2 * hint_ms)
    return base // 2 + rng.randrange(0, base // 2 + 1)


def attempt_ms(usual_ms: float, lost: int) -> int:
    """How long to wait for an answer: longer where answers usually take long, doubling with each one lost."""
    return min(ATTEMPT_MS_MAX, max(ATTEMPT_MS, int(usual_ms * _SLOW_FACTOR)) << min(lost, 3))


def note_refusal(part: Part, effect: int, rule: Rule, detail: str) -> None:
    """Keep what an answered attempt says of the part: it is no longer open, and it did or may have happened."""
    part.open -= 1
    part.lost = 0
    part.tries += 1
    part.doubt = part.doubt or effect == EFFECT_UNKNOWN
    part.detail, part.blame = detail, rule.blame


def refusal(part: Part, effect: int, rule: Rule) -> ZkvError:
    """The error for a part whose last attempt was refused with `effect` and cannot be made again."""
    if effect == EFFECT_DONE:
        return Timeout(part.detail, effect="done", advice="the write stands; fewer replicas than asked for have it")
    if rule.blame is Overloaded:
        return Overloaded(part.detail, effect=effect_of(part))
    advice = "nothing of it will be tried again; read the key to see" if part.may_have_happened else None
    return rule.blame(part.detail, effect=effect_of(part), advice=advice)


def late(part: Part, waited_ms: int, nobody: str) -> ZkvError:
    """The error for a part whose deadline has passed. `nobody`: who did not answer at all, where nobody did."""
    seconds = f"{waited_ms / 1000:g} s"
    effect = effect_of(part)
    silent = part.open > 0 or part.blame is Timeout
    if effect == "unknown" or (silent and not nobody):
        because = f": {part.detail}" if part.detail else ""
        return Timeout(f"no answer within {seconds}{because}", effect=effect)
    if part.blame is ProtocolError:
        return ProtocolError(f"no success within {seconds}: {part.detail}", effect=effect)
    if part.blame is Overloaded:
        return Overloaded(f"still refused after {seconds}: {part.detail}", effect=effect)
    return Unavailable(f"no success within {seconds}: {nobody or part.detail}", effect=effect)


def effect_of(part: Part) -> Effect:
    """Of a part without a result. Reads have none."""
    return "unknown" if part.request.kind == WRITE and part.may_have_happened else "none"


def batch_error(results: dict[bytes, object]) -> ZkvError | None:
    """The one error of a batch in which some keys failed, with the result of each; None where none failed."""
    failures = [result for result in results.values() if isinstance(result, ZkvError)]
    if not failures:
        return None
    worst = max(failures, key=lambda failure: failure.effect == "unknown")
    error = type(worst)(f"{len(failures)} of {len(results)} keys failed (see `.results`): {worst.what}")
    effects = {failure.effect for failure in failures}
    all_failed = len(failures) == len(results)
    error.effect = effects.pop() if len(effects) == 1 and all_failed else "unknown"
    error.advice = worst.advice
    error.results = results
    return error
