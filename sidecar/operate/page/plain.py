"""Answers of the admin contract as JSON that everybody may read. Pure."""

from __future__ import annotations

import secrets
from functools import cache
from hashlib import blake2b
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from sdk_python.protocol import admin_pb2 as pb
from sidecar.redact import masked
from sidecar.visible import visible

MAX_CHARACTERS = 1_000
"""The shown length of a text."""

MAX_REASON_CHARACTERS = 200
"""The shown length of a text of a lambda, such as its exception, which may quote a record."""

_REASONS = frozenset(
    f"kafka_sidecar.admin.v1.{field}" for field in ("Partition.reason", "Partition.progress", "Failure.text")
)

_KEY = secrets.token_bytes(16)


def clean(message: Message) -> None:
    """Make every text of a message fit to be shown: in one line, of a bounded length, passwords in URLs masked.

    The id of a process becomes another one, since who knows a process's id can speak to the sidecar in its name.
    """
    if isinstance(message, pb.Process) and message.instance == message.process_id:
        message.instance = ""  # the sidecar knows no other name of it
    texts, inner = _kinds(message.DESCRIPTOR)
    for field in texts:
        value = getattr(message, field.name)
        if field.is_repeated:
            value[:] = [shown(text) for text in value]
        elif value and field.name == "process_id":
            setattr(message, field.name, blake2b(value.encode(), digest_size=6, key=_KEY).hexdigest())
        elif value:
            limit = MAX_REASON_CHARACTERS if field.full_name in _REASONS else MAX_CHARACTERS
            setattr(message, field.name, shown(value, limit))
    for field in inner:
        if field.is_repeated:
            for one in getattr(message, field.name):
                clean(one)
        elif message.HasField(field.name):
            clean(getattr(message, field.name))


@cache
def _kinds(descriptor: Descriptor) -> tuple[list[FieldDescriptor], list[FieldDescriptor]]:
    """The fields of a message that are texts, and those that are messages: most of the others are numbers."""
    fields = descriptor.fields
    texts = [field for field in fields if field.cpp_type == FieldDescriptor.CPPTYPE_STRING]
    return texts, [field for field in fields if field.message_type is not None]


def shown(text: str, limit: int = MAX_CHARACTERS) -> str:
    """A text from elsewhere, as `clean` makes it."""
    safe: str = masked(text)  # first: what is cut in the middle of a password no longer looks like one
    return visible(safe[:limit])


def plain(message: Message) -> dict[str, Any]:
    """A message with the names of `proto/admin.proto`. Fields that are absent, zero or empty are left out.

    Protobuf's own conversion takes half as long again, and makes texts of 64-bit numbers.
    """
    made: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None:
            made[field.name] = [plain(one) for one in value] if field.is_repeated else plain(value)
        elif field.enum_type is not None:
            known = field.enum_type.values_by_number.get(value)
            made[field.name] = value if known is None else known.name
        else:
            made[field.name] = [*value] if field.is_repeated else value
    return made
