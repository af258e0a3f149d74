"""Which document a message is of."""

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
"""From a message to its document's key; None: it is of no document. A `DocumentKey` has a tenant too."""

_BOXCAR: Final = "boxcar"


class DocumentKey(NamedTuple):
    """Tenant and document. Two parts, not one text: ``a/b`` and ``c`` are not ``a`` and ``b/c``."""

    tenant_id: str
    document_id: str


_JSON: Final = json.JSONDecoder()

_DIGITS: Final = 300
"""Integers of more digits are beyond all doubles, or nearly; Python refuses to read those of some thousand."""


def _parse(value: bytes) -> Any:
    """JSON in UTF-8, with a byte order mark or without. `json.loads` looks for other encodings first, which costs a
    half more.

    Raises ``ValueError``.
    """
    text = value.decode("utf-8", "surrogatepass").strip(" \t\n\r\ufeff")
    parsed, end = _JSON.raw_decode(text)
    if end != len(text):
        raise ValueError(f"something follows the JSON at {end}")
    return parsed


class DocumentMessage(Message):
    """What a document's lambda gets: a `Message`, with ``boxcar`` beside the bytes in ``value``."""

    @cached_property
    def boxcar(self) -> dict[str, Any] | None:
        """The value, parsed once for the router and the lambda: a boxcar, or what one is made of it as in the seed.

        A JSON object whose ``type`` is not ``"boxcar"`` is wrapped: itself is the only entry of ``contents``, and
        the ids are its own. None: not a JSON object, or one that Python cannot read: nested in many hundred levels,
        or with a number of thousands of digits.
        """
        return _boxcar_of(self.value)


def _boxcar_of(value: bytes | None) -> dict[str, Any] | None:
    """See `DocumentMessage.boxcar`."""
    if value is None:
        return None
    try:
        parsed = _parse(value)
    except (ValueError, RecursionError):  # not UTF-8 is a ValueError too; the other is a million brackets
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
    """The boxcar without what is in it, when the whole cannot be read: its document's lambda has to hear of it.

    One client can send contents that Python's parser gives up at. Left out, they would be lost in silence.
    """
    if value is None:
        return None
    try:
        text = value.decode("utf-8", "surrogatepass").strip(" \t\n\r\ufeff")
        return _as_boxcar(json.loads(prune(text, 1, "null"), parse_int=_integer))
    except ValueError:
        return None


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _DIGITS else float(digits)


def by_boxcar(message: DocumentMessage) -> DocumentKey | None:
    """Tenant and document of a boxcar, or of a message that has both ids.

    An id is a text that is not empty. What has none, null, or something else is of no document: it would be thrown
    together with all others like it in one document called ``null``.
    """
    known = message.__dict__
    if "boxcar" not in known:
        known["boxcar"] = _boxcar_of(message.value)  # what the property does, which takes a lock in Python 3.11
    boxcar: dict[str, Any] | None = known["boxcar"]
    if boxcar is None:
        boxcar = _outline_of(message.value)
    if boxcar is None:
        return None
    tenant, document = boxcar.get("tenantId"), boxcar.get("documentId")
    if isinstance(tenant, str) and isinstance(document, str) and tenant and document:
        return tuple.__new__(DocumentKey, (tenant, document))  # as the class does, without a Python call in between
    if "tenantId" in boxcar and "documentId" in boxcar:
        log.warning(
            "%s/%d: the message at offset %d has tenantId %.100r and documentId %.100r, and is left out",
            *(message.topic, message.partition, message.offset, tenant, document),
        )
    return None


def by_record_key(message: DocumentMessage) -> str | None:
    """The record's key; a message without a key, or with an empty one, is of no document."""
    return message.key.decode("utf-8", "surrogateescape") if message.key else None


def key_function(key: str | KeyFunction) -> KeyFunction:
    """What the setting ``key`` stands for.

    Raises:
        PluginError: it is no function and names none.
    """
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
    """The ids that a document's lambda is told: without a tenant, the key's text is the document."""
    if isinstance(key, DocumentKey):
        return key
    if isinstance(key, tuple) and len(key) == 2:
        return DocumentKey(str(key[0]), str(key[1]))
    return DocumentKey("", key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else str(key))


def name_of(key: Hashable) -> str:
    """A document's name for people."""
    tenant, document = ids_of(key)
    return f"{tenant}/{document}" if tenant else document
