"""Bytes for the codec's tests: hand-made fields, random damage, and what ptars is known to let pass."""

from __future__ import annotations

import random

from google.protobuf.descriptor import Descriptor, FieldDescriptor

_FIXED = {FieldDescriptor.TYPE_FIXED64: 8, FieldDescriptor.TYPE_DOUBLE: 8}


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def part(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return tag(number, 2) + varint(len(payload)) + payload


def inside(path: tuple[int, ...], payload: bytes) -> bytes:
    """The payload as the innermost of length-delimited fields."""
    for number in reversed(path):
        payload = part(number, payload)
    return payload


def damaged(rng: random.Random, body: bytes) -> bytes:
    """Return the body after one to three small accidents: bits, bytes, cuts, repeats, mix-ups."""
    broken = bytearray(body)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if not broken:
            break
        at, other = rng.randrange(len(broken)), rng.randrange(len(broken))
        accident = rng.randrange(7)
        if accident == 0:
            broken[at] ^= 1 << rng.randrange(8)
        elif accident == 1:
            broken[at] = rng.randrange(256)
        elif accident == 2:
            del broken[at]
        elif accident == 3:
            broken.insert(at, rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
        elif accident == 4:
            del broken[at:]
        elif accident == 5:
            broken[at:at] = broken[at : at + rng.randrange(1, 20)]
        else:
            broken[at : at + 8] = broken[other : other + rng.randrange(1, 12)]
    return bytes(broken)


def leniency(message: Descriptor, body: bytes) -> str | None:
    """Return which of the errors in docs/otlp.md that the decoder lets pass the body has, None for none of them."""
    at, open_groups = 0, []
    while at < len(body):
        key, at, length = _read(body, at)
        number, wire_type = key >> 3, key & 7
        if key >= 1 << 32 or length > 5:
            return "field number too large"
        if wire_type == 3:
            open_groups.append(number)
        elif wire_type == 4:
            if not open_groups or open_groups.pop() != number:
                return "mismatched group"
        elif wire_type == 2:
            size, at, length = _read(body, at)
            if length > 5:
                return "length too long"
            field = None if open_groups else message.fields_by_number.get(number)
            payload, at = body[at : at + size], at + size
            if field is not None and (found := _within(field, payload)):
                return found
        else:
            at = _read(body, at)[1] if wire_type == 0 else at + (8 if wire_type == 1 else 4)
    return None


def _within(field: FieldDescriptor, payload: bytes) -> str | None:
    if field.message_type is not None:
        return leniency(field.message_type, payload)
    if field.is_repeated and len(payload) % _FIXED.get(field.type, 1):
        return "packed numbers cut short"
    return None


def _read(body: bytes, at: int) -> tuple[int, int, int]:
    """Return a varint, where it ends and how long it was."""
    number = length = 0
    while True:
        number |= (body[at] & 127) << 7 * length
        at, length = at + 1, length + 1
        if body[at - 1] < 128:
            return number, at, length
