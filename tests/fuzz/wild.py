"""Random values of any type that is decoded here, edges preferred, and the mutations of the bytes that they become."""

import random
from collections.abc import Callable
from functools import lru_cache

import msgspec

_EDGES = (0, 1, -1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**62 - 1, 2**63 - 1, -(2**63), 2**64 - 1)
_DEPTH_MAX = 6  # of values within values; deeper ones are as small as they may be
_ITEMS = (0, 0, 1, 1, 2, 3)
# Heads of msgpack that promise far more than follows: arrays, maps, strings, bytes and extensions of up to 4 GiB.
_PROMISES = (
    b"\xdd\xff\xff\xff\xff",
    b"\xdc\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc5\xff\xff",
    b"\xc9\xff\xff\xff\xff\x01",
    b"\xda\xff\xff",
    b"\xd9\xff",
)
_NEST = (b"\x91", b"\x81", b"\x92\xc0", b"\xdd\x00\x00\x00\x01", b"\x82\xa0\xc0\xa0")


_type_info = lru_cache(msgspec.inspect.type_info)


class Wild:
    """Makes values and bytes from one source of chance."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def value(self, kind: object) -> object:
        """A value of the type, within its bounds."""
        return self._value(_type_info(kind), 0)

    def mutated(self, frame: bytes, other: bytes) -> bytes:
        """The frame with one to four things done to it; `other` is what parts are taken from."""
        for _ in range(self._chance.randint(1, 4)):
            frame = self._chance.choice(_MUTATIONS)(self._chance, frame, other)
        return frame

    def _value(self, kind: msgspec.inspect.Type, depth: int) -> object:
        chance = self._chance
        match kind:
            case msgspec.inspect.IntType():
                return self._integer(kind)
            case msgspec.inspect.BytesType() | msgspec.inspect.StrType():
                least, most = kind.min_length or 0, kind.max_length if kind.max_length is not None else 64
                size = min(most, max(least, chance.choice((0, 1, 2, 8, 16, 40))))
                if isinstance(kind, msgspec.inspect.BytesType):
                    return chance.randbytes(size)
                return self._text(kind, size)
            case msgspec.inspect.VarTupleType():
                least, most = kind.min_length or 0, kind.max_length if kind.max_length is not None else 8
                count = min(most, max(least, 0 if depth > _DEPTH_MAX else chance.choice(_ITEMS)))
                return tuple([self._value(kind.item_type, depth + 1) for _ in range(count)])
            case msgspec.inspect.TupleType():
                return tuple([self._value(item, depth + 1) for item in kind.item_types])
            case msgspec.inspect.UnionType():
                return self._value(chance.choice(kind.types), depth + 1)
            case msgspec.inspect.StructType():
                return kind.cls(*[self._value(field.type, depth + 1) for field in kind.fields])
            case msgspec.inspect.EnumType():
                return chance.choice(list(kind.cls))
            case msgspec.inspect.LiteralType():
                return chance.choice(list(kind.values))
            case msgspec.inspect.BoolType():
                return chance.random() < 0.5
            case msgspec.inspect.FloatType():
                return chance.choice((0.0, -1.5, 1e308, float("inf")))
            case msgspec.inspect.NoneType():
                return None
            case _:
                raise AssertionError(f"a type that no decoder had: {kind}")

    def _integer(self, kind: msgspec.inspect.IntType) -> int:
        low = -(2**63) if kind.ge is None else kind.ge
        high = 2**63 - 1 if kind.le is None else kind.le
        low = low if kind.gt is None else max(low, kind.gt + 1)
        high = high if kind.lt is None else min(high, kind.lt - 1)
        fitting = [edge for edge in (*_EDGES, low, high) if low <= edge <= high]
        return self._chance.choice(fitting) if self._chance.random() < 0.5 else self._chance.randint(low, high)

    def _text(self, kind: msgspec.inspect.StrType, size: int) -> str:
        if kind.pattern is not None:
            return "learn" if "learn" in kind.pattern else "node-1"
        return "".join(self._chance.choices("az09-\x00\u00e9\u20ac\U0001f600", k=size))


def _flip(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    place = chance.randrange(len(frame) + 1)
    return frame[:place] + bytes([chance.randrange(256)]) + frame[place + 1 :]


def _bit(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    if not frame:
        return b"\x00"
    place = chance.randrange(len(frame))
    return frame[:place] + bytes([frame[place] ^ 1 << chance.randrange(8)]) + frame[place + 1 :]


def _cut(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    return frame[: chance.randrange(len(frame) + 1)]


def _without(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    start = chance.randrange(len(frame) + 1)
    return frame[:start] + frame[start + chance.choice((1, 2, 5, 9)) :]


def _insert(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    place = chance.randrange(len(frame) + 1)
    return frame[:place] + chance.randbytes(chance.choice((1, 2, 5, 9))) + frame[place:]


def _repeat(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    start = chance.randrange(len(frame) + 1)
    part = frame[start : start + chance.choice((1, 3, 10, 100))]
    return frame[:start] + part * chance.choice((2, 3, 50)) + frame[start:] if len(frame) < 10_000 else frame


def _splice(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    return frame[: chance.randrange(len(frame) + 1)] + other[chance.randrange(len(other) + 1) :]


def _promise(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    place = chance.randrange(len(frame) + 1)
    return frame[:place] + chance.choice(_PROMISES) + frame[place + chance.choice((0, 1, 5)) :]


def _nest(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    place = chance.randrange(len(frame) + 1)
    deep = chance.choice(_NEST) * chance.choice((3, 50, 50, 5_000))
    return frame[:place] + deep + frame[place:] if len(frame) < 10_000 else frame


def _nothing_but_chance(chance: random.Random, frame: bytes, other: bytes) -> bytes:
    return chance.randbytes(chance.choice((0, 1, 3, 20, 200)))


_MUTATIONS: tuple[Callable[[random.Random, bytes, bytes], bytes], ...] = (
    *(_flip, _flip, _bit, _bit, _bit, _cut, _without, _insert, _repeat, _splice, _promise, _nest),
    _nothing_but_chance,
)
