"""The native extension of `sidecar/native`, where it was built and works."""

import os
from functools import cache
from types import ModuleType

from confluent_kafka import Consumer, KafkaException

from sidecar.logs import get_logger

SWITCH = "KAFKA_SIDECAR_NATIVE"
"""An environment variable; `0`: do as if there was none."""

PLUGINS = "plugin.library.paths"
"""The property by which Kafka's client is told of the extension, and the extension of the client."""


@cache
def extension() -> ModuleType | None:
    """The module, or None: then records are read by the binding's message objects, at half the speed."""
    log = get_logger(__name__)
    if os.environ.get(SWITCH) == "0":
        log.info("records are read without the native extension", reason=f"{SWITCH}=0")
        return None
    try:
        from sidecar.kafka import _native  # noqa: PLC0415 - it may be missing

        _try(_native)
    except (ImportError, KafkaException, RuntimeError) as error:
        log.info(
            "records are read without the native extension, at about half the speed",
            reason=str(error),
            remedy="install a C compiler and Python's headers, and install kafka-sidecar again",
        )
        return None
    return _native


def _try(module: ModuleType) -> None:
    """A client that is made and closed, and connects to nothing: a librdkafka built without plugins refuses it.

    Raises ``KafkaException`` or ``RuntimeError``.
    """
    consumer = Consumer({"group.id": "none", "log_level": 0, PLUGINS: str(module.__file__)})
    try:
        module.Source(1).close()
    finally:
        consumer.close()
