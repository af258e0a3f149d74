"""What the outputs of several commands have in common: JSON of an answer, tables, counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

_WIDE = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)


def status_json(status: Message) -> str:
    """The answer as JSON with the names of `proto/admin.proto`; numbers are numbers, absent fields are absent."""
    plain = MessageToDict(status, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return json.dumps(_with_numbers(plain, status), indent=2)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def many(count: int, one: str, several: str) -> str:
    """A count with its noun: `1 byte`, `2 bytes`."""
    return f"{count} {one if count == 1 else several}"


def pieces(count: int, lanes: int) -> str:
    """How many pieces of a lambda's topics: `3 partitions`, or `3 lanes` where its partitions have ``lanes``."""
    return many(count, "lane", "lanes") if lanes > 1 else many(count, "partition", "partitions")


def _with_numbers(plain: dict[str, Any], message: Message) -> dict[str, Any]:
    """Turn the 64-bit numbers, which protobuf writes as JSON strings, into numbers: `jq` calculates with them."""
    for field in message.DESCRIPTOR.fields:
        if field.name not in plain:
            continue
        if field.cpp_type in _WIDE:
            plain[field.name] = int(plain[field.name])
        elif field.message_type is not None:
            shown, inner = plain[field.name], getattr(message, field.name)
            for one, value in zip(shown, inner, strict=True) if field.is_repeated else [(shown, inner)]:
                _with_numbers(one, value)
    return plain
