"""Histories for the checker's tests: made by a real register, then, if wanted, spoilt; and a judge that tries all."""

import random
from dataclasses import dataclass

import msgspec

from zkv.checkers.history import Args, Call, Outcome, Verb

VERBS = (Verb.PUT, Verb.PUT, Verb.GET, Verb.GET, Verb.DELETE, Verb.PUT_IF_VERSION, Verb.PUT_IF_ABSENT, Verb.INCREMENT)


@dataclass
class Register:
    """One row and a counter of versions, one operation at a time."""

    value: str | None = None
    version: int = 0
    counter: int = 0

    def apply(self, verb: Verb, args: Args, version: int | None = None) -> Outcome:
        """Do it; `version` overrides the counter's next number."""
        found = self.version if self.value is not None else 0
        if verb is Verb.GET:
            return Outcome(found, self.value, self.value is not None)
        self.counter = self.counter + 1 if version is None else version
        expects = 0 if verb is Verb.PUT_IF_ABSENT else args.version
        if expects is not None and expects != found:
            return Outcome(found, failed=True)
        if verb is Verb.DELETE:
            existed, self.value = self.value is not None, None
            return Outcome(self.counter, found=existed)
        value = args.value
        if verb is Verb.INCREMENT:
            digits = self.value or "0"
            if not digits.lstrip("-").isdigit():
                return Outcome(found, failed=True)
            value = str(int(digits) + (args.by or 0))
        self.value, self.version = value, self.counter
        return Outcome(self.counter, value if verb is Verb.INCREMENT else None)


def random_args(chance: random.Random, verb: Verb, unique: str, versions: int) -> Args:
    """Arguments that fit the verb."""
    match verb:
        case Verb.GET:
            return Args()
        case Verb.DELETE:
            return Args(version=chance.choice([None, None, chance.randint(1, versions)]))
        case Verb.INCREMENT:
            return Args(by=chance.choice([1, 1, 2]))
        case Verb.PUT_IF_VERSION:
            return Args(value=unique, version=chance.randint(0, versions))
        case _:
            return Args(value=unique)


def random_history(
    chance: random.Random,
    *,
    calls: int,
    clients: int,
    lost: float,
    verbs: tuple[Verb, ...] = VERBS,
    values: int = 0,
    key: str = "k",
) -> list[Call]:
    """A history that is linearizable: each call takes effect at one moment between its start and its end.

    `lost`: the share of calls whose outcome is unknown; half of them take effect, perhaps after their client gave up.
    `values`: how many different values are written (0: each its own).
    """
    register = Register()
    events: list[tuple[int, int]] = []
    spans: list[tuple[int, int, int]] = []
    free = [0] * clients
    for number in range(calls):
        client = min(range(clients), key=lambda mine: (free[mine], chance.random()))
        start = free[client] + chance.randint(1, 10)
        moment = start + chance.randint(1, 10)
        end = moment + chance.randint(1, 10)
        free[client] = end
        spans.append((client, start * calls + number, end * calls + number))
        events.append((moment * calls + number, number))
    history: dict[int, Call] = {}
    missing = {number for number in range(calls) if chance.random() < lost}
    for _, number in sorted(
        (moment + (chance.randint(0, 40 * calls) if number in missing else 0), number) for moment, number in events
    ):
        client, start, end = spans[number]
        verb = chance.choice(verbs)
        unique = f"v{number}" if not values else chance.choice(["v", "w", "7"][:values])
        args = random_args(chance, verb, unique, register.counter + 1)
        happens = number not in missing or chance.random() < 0.5
        outcome = register.apply(verb, args) if happens else None
        call = Call(f"c{client}", key, verb, args, start)
        if number not in missing:
            call = msgspec.structs.replace(call, completed_ns=end, outcome=outcome, effect="done")
        elif chance.random() < 0.5:
            call = msgspec.structs.replace(call, completed_ns=end, effect="unknown")
        history[number] = call
    return [history[number] for number in range(calls)]


def without_some_versions(chance: random.Random, history: list[Call]) -> list[Call]:
    """The same, where some clients were not told versions (who is refused always is)."""
    return [
        msgspec.structs.replace(call, outcome=msgspec.structs.replace(call.outcome, version=None))
        if call.outcome is not None and not call.outcome.failed and chance.random() < 0.5
        else call
        for call in history
    ]


def spoilt(chance: random.Random, history: list[Call]) -> list[Call]:
    """The same with the outcomes of two calls, or one field of one, changed at random; it may still be linearizable."""
    told = [number for number, call in enumerate(history) if call.outcome is not None]
    if not told:
        return history
    changed = list(history)
    one, other = chance.choice(told), chance.choice(told)
    outcome = history[one].outcome
    assert outcome is not None
    match chance.randrange(4):
        case 0 if history[one].op is history[other].op:
            changed[one] = msgspec.structs.replace(history[one], outcome=history[other].outcome)
        case 1 if outcome.version is not None:
            outcome = msgspec.structs.replace(outcome, version=max(0, outcome.version + chance.choice([-1, 1])))
            changed[one] = msgspec.structs.replace(history[one], outcome=outcome)
        case 2 if outcome.found is not None and history[one].op is Verb.DELETE:
            outcome = msgspec.structs.replace(outcome, found=not outcome.found)
            changed[one] = msgspec.structs.replace(history[one], outcome=outcome)
        case _:
            swapped = msgspec.structs.replace(
                history[one], invoked_ns=history[other].invoked_ns, completed_ns=history[other].completed_ns
            )
            changed[one] = swapped if history[other].completed_ns else history[one]
    return changed


def tries_all(history: list[Call]) -> bool:
    """Whether some order of the calls, with some versions where none were told, could have been answered like this."""
    top = max([0, *(call.outcome.version or 0 for call in history if call.outcome)])
    top = max([top, *(call.args.version or 0 for call in history)]) + len(history)
    return _tries(history, Register(), top)


def _must(call: Call) -> bool:
    return call.completed_ns is not None and call.effect == "done"


def _tries(left: list[Call], register: Register, top: int) -> bool:
    if not any(_must(call) for call in left):
        return True
    first_end = min(call.completed_ns for call in left if _must(call) and call.completed_ns is not None)
    for number, call in enumerate(left):
        if call.invoked_ns > first_end or (call.op is Verb.GET and not _must(call)):
            continue
        rest = left[:number] + left[number + 1 :]
        for version in range(register.counter + 1, top + 1):
            after = Register(register.value, register.version, register.counter)
            outcome = after.apply(call.op, call.args, version)
            writes = call.op is not Verb.GET and not outcome.failed
            if not writes:
                after.counter = register.counter
            if _fits(call, outcome) and _tries(rest, after, top):
                return True
            if not writes:
                break
    return False


def _fits(call: Call, outcome: Outcome) -> bool:
    told = call.outcome
    if not _must(call) or told is None:
        return True
    return (
        told.failed == outcome.failed
        and (told.version is None or told.version == outcome.version)
        and (told.found is None or told.found == outcome.found)
        and (told.value == outcome.value or (told.value is None and call.op is not Verb.GET))
    )
