"""What is refused before anything is sent."""

from collections.abc import Callable

import pytest

from zkv import errors, limits
from zkv.core.routing import operations as ops
from zkv.core.routing.scan import Scan

KEY, VALUE = b"k" * limits.KEY_BYTES_MAX, b"v" * limits.VALUE_BYTES_MAX

TOO_LARGE: dict[str, Callable[[], object]] = {
    "a key": lambda: ops.get(KEY + b"k"),
    "a key as text": lambda: ops.get("é" * (limits.KEY_BYTES_MAX // 2 + 1)),
    "a value": lambda: ops.put("k", VALUE + b"v"),
    "a batch by number": lambda: ops.mget([b"%d" % number for number in range(limits.BATCH_OPERATIONS_MAX + 1)]),
    "a batch by bytes": lambda: ops.mput({b"%d" % number: VALUE for number in range(5)}),
    "a bound": lambda: Scan("default", prefix=KEY + b"k"),
}
INVALID: dict[str, Callable[[], object]] = {
    "an empty key": lambda: ops.put("", "v"),
    "a number as key": lambda: ops.get(7),  # type: ignore[arg-type]
    "None as value": lambda: ops.put("k", None),  # type: ignore[arg-type]
    "text that is none": lambda: ops.put("k", "\ud800"),
    "both conditions": lambda: ops.put("k", "v", if_absent=True, if_version=3),
    "a negative version": lambda: ops.put("k", "v", if_version=-1),
    "a version of nothing": lambda: ops.delete("k", if_version=0),
    "a truth as version": lambda: ops.put("k", "v", if_version=True),
    "an increment of 65 bits": lambda: ops.increment("k", 2**63),
    "an increment by a fraction": lambda: ops.increment("k", 0.5),  # type: ignore[arg-type]
    "no copies": lambda: ops.put("k", "v", w=0),
    "a word for copies": lambda: ops.put("k", "v", w="most"),
    "more copies than can be": lambda: ops.put("k", "v", w=limits.REPLICAS_MAX + 1),
    "a read level": lambda: ops.get("k", r="quorum"),
    "a key twice": lambda: ops.mput({b"k": "v", "k": "v"}),  # type: ignore[dict-item]
    "a receipt of a batch": lambda: ops.with_receipt(ops.mget(["a"])),
    "a negative limit": lambda: Scan("default", limit=-1),
}


@pytest.mark.parametrize("make", TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_is_beyond_a_limit_is_too_large(make: Callable[[], object]) -> None:
    with pytest.raises(errors.TooLarge):
        make()


@pytest.mark.parametrize("make", INVALID.values(), ids=INVALID)
def test_what_cannot_be_right_is_an_invalid_request(make: Callable[[], object]) -> None:
    with pytest.raises(errors.InvalidRequest):
        make()


def test_what_is_exactly_at_a_limit_is_taken() -> None:
    rows = {b"%d" % number: b"v" * (limits.BATCH_BYTES_MAX // 4 - 1) for number in range(4)}
    assert ops.put(KEY, VALUE).size > limits.VALUE_BYTES_MAX
    assert len(ops.mput(rows).items) == 4
    assert len(ops.mdelete(b"%d" % number for number in range(limits.BATCH_OPERATIONS_MAX)).items) == 1_000


def test_text_is_its_utf_8_bytes_and_keys_named_twice_are_read_once() -> None:
    assert ops.mget(["é", "é".encode(), "b"]).items == ("é".encode(), b"b")
