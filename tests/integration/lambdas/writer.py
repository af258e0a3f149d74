"""Where a lambda process keeps its history: one JSON line an event, in the order in which things happened.

A line is written with one system call and so survives a SIGKILL of the process that wrote it (a crash of the machine
is no part of these tests). Times are of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from sdk_python import Message


class HistoryWriter:
    """Appends to ``FOLDER/LABEL-PID.jsonl``; settings: ``history`` (the folder), ``label``, ``full``.

    With ``full`` a handled message is kept with all its fields, else only with a hash of its value.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._label = str(config.get("label", "supervised"))
        self._full = bool(config.get("full"))
        path = Path(config["history"]) / f"{self._label}-{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._leases = 0
        self.write("started", pid=os.getpid())

    def new_lease(self) -> str:
        """A name for a lambda of this process: the wire's own leases are not shown to lambdas."""
        self._leases += 1
        return f"{self._label}-{os.getpid()}-{self._leases}"

    def write(self, kind: str, **fields: Any) -> None:
        """One event, at once."""
        line = json.dumps({"kind": kind, "at": time.monotonic(), **fields})
        os.write(self._file, line.encode() + b"\n")

    def handled(self, lease: str, message: Message) -> None:
        """The handler was called with ``message``."""
        fields: dict[str, Any] = {"offset": message.offset, "partition": message.partition, "topic": message.topic}
        if self._full:
            fields["record"] = {
                "timestamp": message.timestamp,
                "timestamp_type": message.timestamp_type,
                "key": as_text(message.key),
                "value": as_text(message.value),
                "headers": [[name, as_text(value)] for name, value in message.headers],
            }
        else:
            fields["hash"] = hash_of(message.value)
        self.write("handled", lease=lease, **fields)


def hash_of(value: bytes | None) -> str | None:
    """A short name for a value; null has none."""
    return None if value is None else blake2b(value, digest_size=8).hexdigest()


def as_text(value: bytes | None) -> str | None:
    """Bytes as JSON can hold them."""
    return None if value is None else base64.b64encode(value).decode()
