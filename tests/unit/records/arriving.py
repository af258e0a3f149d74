"""Records that come, as Python objects."""

from confluent_kafka import Message

from sidecar.records.fallback.source import read_message
from sidecar.records.records import Failure, Record


def read(message: Message) -> Record:
    """One that can be read."""
    record = read_message(message)
    assert not isinstance(record, Failure)
    return record
