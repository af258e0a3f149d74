"""Loads the native extension of `sidecar/records/native`, if it was built and works."""

import os
import threading
from functools import cache
from types import ModuleType

from confluent_kafka import libversion

from sidecar.logs import get_logger
from sidecar.records.proof import prove

SWITCH = "KAFKA_SIDECAR_NATIVE"
"""An environment variable; `0`: do not use the extension."""

TESTED = ("2.16", "2.16")
"""The first and the last minor version of librdkafka that the extension was tested with.

With another version it is used too, if `prove` shows that records arrive, and the log says so: another version might
change how queues behave, and `prove` tests exactly that.
"""

_REASON = "records are read and produced without the native extension, at about an eighth of the speed"
_lock = threading.Lock()


def extension() -> ModuleType | None:
    """The extension module; None: records are read and produced as the binding's objects, at an eighth of the speed.

    It is tried once in a process, by the first lambda's thread that asks; the others wait for the result.
    """
    with _lock:
        return _extension()


@cache
def _extension() -> ModuleType | None:
    log = get_logger(__name__)
    if os.environ.get(SWITCH) == "0":
        log.info("records are read and produced without the native extension", reason=f"{SWITCH}=0")
        return None
    try:
        from sidecar.records import _native  # noqa: PLC0415 - it may be missing
    except ImportError as error:
        remedy = "install a C compiler and Python's headers, and install kafka-sidecar again"
        log.info(_REASON, reason=str(error), remedy=remedy)
        return None
    version, _ = libversion()
    try:
        prove(_native)
    except Exception as error:  # whatever it is, the sidecar works without the extension
        log.warning(
            _REASON,
            reason=f"no record was read by it with librdkafka {version}: {error}",
            remedy=f"use librdkafka {_range()}, with which it was tested; {SWITCH}=0 does not try it",
        )
        return None
    if not _is_tested(version):
        log.info(
            "the native extension works with this librdkafka, but was tested with others",
            version=version,
            tested=_range(),
        )
    return _native


def _is_tested(version: str) -> bool:
    first, last = (_numbers(one) for one in TESTED)
    return first <= _numbers(version)[:2] <= last


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version such as `2.16.0` or `2.16.0-RC1`."""
    return tuple(int(number) for number in version.split("-", maxsplit=1)[0].split("."))


def _range() -> str:
    first, last = TESTED
    return f"{first}.x" if first == last else f"{first}.x to {last}.x"
