"""Produces records that Kafka stores and the Python binding cannot make: header names with NUL, or not UTF-8."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import confluent_kafka.cimpl

TIMEOUT = 20.0


def produce_headers(
    address: str,
    topic: str,
    headers: Sequence[tuple[bytes, bytes | None]],
    partition: int = 0,
    *,
    key: bytes | None = None,
    value: bytes | None = b"",
) -> tuple[int, int]:
    """Produce one record; return its (partition, offset).

    To Kafka header names are bytes. This calls the C library that the binding itself has loaded. Raises
    ``RuntimeError`` when the record was not stored.
    """
    library = _library()
    delivered: list[_CMessage] = []

    def on_delivery(_client: object, message: Any, _opaque: object) -> None:
        delivered.append(_CMessage.from_buffer_copy(message.contents))

    report = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(_CMessage), ctypes.c_void_p)(on_delivery)
    text = ctypes.create_string_buffer(512)
    conf = ctypes.c_void_p(library.rd_kafka_conf_new())
    for setting, wanted in ((b"bootstrap.servers", address.encode()), (b"log_level", b"0")):
        if library.rd_kafka_conf_set(conf, setting, wanted, text, ctypes.c_size_t(len(text))):
            raise RuntimeError(f"librdkafka refused {setting!r}: {text.value.decode()}")
    library.rd_kafka_conf_set_dr_msg_cb(conf, report)
    client = ctypes.c_void_p(library.rd_kafka_new(0, conf, text, ctypes.c_size_t(len(text))))
    if client.value is None:
        raise RuntimeError(f"librdkafka made no producer: {text.value.decode()}")
    try:
        # The array form: C's variable arguments have a calling convention of their own on some platforms.
        given = [
            _Argument(_TOPIC, _Value(text=topic.encode())),
            _Argument(_PARTITION, _Value(number=partition)),
            _Argument(_COPY_FLAG, _Value(number=_COPY)),
            _Argument(_HEADERS, _Value(pointer=_headers(library, headers))),
        ]
        for kind, content in ((_KEY, key), (_VALUE, value)):
            if content is not None:
                given.append(_Argument(kind, _Value(memory=_Memory(content, len(content)))))
        arguments = (_Argument * len(given))(*given)
        error = ctypes.c_void_p(library.rd_kafka_produceva(client, arguments, ctypes.c_size_t(len(arguments))))
        if error.value is not None:
            raise RuntimeError(f"librdkafka took no record: {library.rd_kafka_error_string(error).decode()}")
        library.rd_kafka_flush(client, int(TIMEOUT * 1000))
    finally:
        library.rd_kafka_destroy(client)
    if not delivered:
        raise RuntimeError(f"{address} did not answer in {TIMEOUT:g} s")
    if delivered[0].error:
        raise RuntimeError(f"not stored: {library.rd_kafka_err2str(delivered[0].error).decode()}")
    return int(delivered[0].partition), int(delivered[0].offset)


def _library() -> ctypes.CDLL:
    # A lookup of symbols includes the module's dependencies: so this finds its librdkafka on every platform.
    library = ctypes.CDLL(confluent_kafka.cimpl.__file__)
    for function in ("conf_new", "new", "produceva", "error_string", "headers_new"):
        getattr(library, f"rd_kafka_{function}").restype = ctypes.c_void_p
    library.rd_kafka_error_string.restype = ctypes.c_char_p
    library.rd_kafka_err2str.restype = ctypes.c_char_p
    return library


def _headers(library: ctypes.CDLL, headers: Sequence[tuple[bytes, bytes | None]]) -> int:
    made: int = library.rd_kafka_headers_new(ctypes.c_size_t(len(headers)))
    for name, value in headers:
        sizes = ctypes.c_ssize_t(len(name)), ctypes.c_ssize_t(len(value or b""))
        library.rd_kafka_header_add(ctypes.c_void_p(made), name, sizes[0], value, sizes[1])
    return made


# librdkafka's rd_kafka_vtype_t, rd_kafka_vu_t and rd_kafka_message_t (rdkafka.h).
_TOPIC, _PARTITION, _VALUE, _KEY, _COPY_FLAG, _HEADERS = 1, 3, 4, 5, 7, 10
_COPY = 2


class _Memory(ctypes.Structure):
    _fields_ = (("start", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _Value(ctypes.Union):
    _fields_ = (
        ("text", ctypes.c_char_p),
        ("number", ctypes.c_int32),
        ("memory", _Memory),
        ("pointer", ctypes.c_void_p),
        ("room", ctypes.c_char * 64),
    )


class _Argument(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("value", _Value))


class _CMessage(ctypes.Structure):
    _fields_ = (
        ("error", ctypes.c_int),
        ("topic", ctypes.c_void_p),
        ("partition", ctypes.c_int32),
        ("payload", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("key", ctypes.c_void_p),
        ("key_size", ctypes.c_size_t),
        ("offset", ctypes.c_int64),
        ("private", ctypes.c_void_p),
    )
