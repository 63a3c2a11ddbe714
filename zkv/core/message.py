"""The base of everything that travels: a typed msgpack array.

Messages live beside the logic that speaks them; `zkv.wire.codec` has the table of tags.
"""

import msgspec


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Travels as a msgpack array: the tag (where there is one), then the fields in this order.

    A field's order is the wire format: append new fields, with a default, at the end.
    """
