"""Finds the document of a message."""

import json
import logging
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any, Final, NamedTuple

from sdk_python._errors import PluginError
from sdk_python._loading import load_module
from sdk_python._message import Message

from .nesting import prune

log = logging.getLogger("kafka_sidecar.sdk")

KeyFunction = Callable[["DocumentMessage"], Hashable | None]
"""Returns the key of a message's document; None: it has no document. A `DocumentKey` has a tenant too."""

_BOXCAR: Final = "boxcar"


class DocumentKey(NamedTuple):
    """Tenant and document. They are two parts and not one text: ``a/b`` and ``c`` are not ``a`` and ``b/c``."""

    tenant_id: str
    document_id: str


_JSON: Final = json.JSONDecoder()

_MAX_DIGITS: Final = 300
"""Integers of more digits are read as a float: Python refuses to read those of some thousand digits."""


def _parse(value: bytes) -> Any:
    """Parse JSON in UTF-8, with or without a byte order mark. Raises ``ValueError`` when it is none.

    `json.loads` would look for other encodings first, which takes half as long again.
    """
    text = value.decode("utf-8", "surrogatepass").strip(" \t\n\r\ufeff")
    parsed, end = _JSON.raw_decode(text)
    if end != len(text):
        raise ValueError(f"something follows the JSON at {end}")
    return parsed


class DocumentMessage(Message):
    """What a document's lambda gets: a `Message` that also has its value parsed, as ``boxcar``."""

    @cached_property
    def boxcar(self) -> dict[str, Any] | None:
        """The value as a boxcar, parsed once for the router and the lambda; None: it is no JSON object.

        A boxcar is the JSON object with ``tenantId``, ``documentId`` and a list ``contents`` that producers of Fluid
        Framework write. A JSON object whose ``type`` is not ``"boxcar"`` is wrapped in one: it is the only entry of
        ``contents``, and the ids are its own. It is also None for JSON that Python cannot read: nested in many
        hundred levels, or with a number of thousands of digits.
        """
        return _boxcar_of(self.value)


def _boxcar_of(value: bytes | None) -> dict[str, Any] | None:
    """Make the boxcar of a message's value, as `DocumentMessage.boxcar` describes."""
    if value is None:
        return None
    try:
        parsed = _parse(value)
    except (ValueError, RecursionError):  # not UTF-8 is a ValueError too; a million brackets are a RecursionError
        return None
    return _as_boxcar(parsed)


def _as_boxcar(parsed: Any) -> dict[str, Any] | None:
    if not isinstance(parsed, dict):
        return None
    if parsed.get("type") == _BOXCAR:
        return parsed
    ids = {name: parsed[name] for name in ("tenantId", "documentId") if name in parsed}
    return {"type": _BOXCAR, "contents": [parsed], **ids}


def _outline_of(value: bytes | None) -> dict[str, Any] | None:
    """Make the boxcar without its contents when Python cannot read them, so that its document's lambda gets it.

    A client can send contents at which Python's parser gives up. If the message were left out, it would be lost in
    silence.
    """
    if value is None:
        return None
    try:
        text = value.decode("utf-8", "surrogatepass").strip(" \t\n\r\ufeff")
        return _as_boxcar(json.loads(prune(text, 1, "null"), parse_int=_integer))
    except ValueError:
        return None


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def by_boxcar(message: DocumentMessage) -> DocumentKey | None:
    """Return tenant and document of a boxcar, or of a message that has both ids; None: it has no document.

    An id is a text that is not empty. A message with another id, or with null, has no document: all such messages
    would come together in one document called ``null`` otherwise.
    """
    known = message.__dict__
    if "boxcar" not in known:
        known["boxcar"] = _boxcar_of(message.value)  # as the property does, but that takes a lock in Python 3.11
    boxcar: dict[str, Any] | None = known["boxcar"]
    if boxcar is None:
        boxcar = _outline_of(message.value)
    if boxcar is None:
        return None
    tenant, document = boxcar.get("tenantId"), boxcar.get("documentId")
    if isinstance(tenant, str) and isinstance(document, str) and tenant and document:
        return tuple.__new__(DocumentKey, (tenant, document))  # as the class does, without a Python call
    if "tenantId" in boxcar and "documentId" in boxcar:
        log.warning(
            "%s/%d: the message at offset %d has tenantId %.100r and documentId %.100r, and is left out",
            *(message.topic, message.partition, message.offset, tenant, document),
        )
    return None


def by_record_key(message: DocumentMessage) -> bytes | None:
    """Return the record's key; None: without a key, or with an empty one, it has no document."""
    return message.key or None


def key_function(key: str | KeyFunction) -> KeyFunction:
    """Return the function that the setting ``key`` names. Raises ``PluginError`` when it names none."""
    if callable(key):
        return key
    if key == _BOXCAR:
        return by_boxcar
    if key == "record":
        return by_record_key
    module_name, _, name = str(key).partition(":")
    if not (module_name and name):
        raise PluginError(f"key {key!r}: expected boxcar, record or MODULE:FUNCTION")
    try:
        module = load_module(module_name)
    except PluginError as error:
        raise PluginError(f"key {key!r}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise PluginError(f"key {key!r}: {module_name} has no function {name!r}")
    found: KeyFunction = function
    return found


def ids_of(key: Hashable) -> DocumentKey:
    """Return the ids of a document with this key. Without a tenant, the document's id is the key as text."""
    if isinstance(key, DocumentKey):
        return key
    if isinstance(key, tuple) and len(key) == 2:
        return DocumentKey(str(key[0]), str(key[1]))
    return DocumentKey("", key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else str(key))


def name_of(key: Hashable) -> str:
    """Return a document's name for people."""
    tenant, document = ids_of(key)
    return f"{tenant}/{document}" if tenant else document
