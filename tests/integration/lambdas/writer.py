"""Writes the history of a lambda process: one JSON line for each event, in order.

A line is written with one system call, and so survives a SIGKILL of the process that wrote it (these tests do not
crash the machine). Times are those of the monotonic clock, which all processes of a machine share.
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

    With ``full``, all fields of a handled message are written; otherwise a hash of its value.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._label = str(config.get("label", "supervised"))
        self._full = bool(config.get("full"))
        path = Path(config["history"]) / f"{self._label}-{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._leases = 0
        self.write("started", pid=os.getpid())

    def new_lease(self) -> str:
        """Make a name for a lambda of this process. Lambdas do not see the leases of the protocol."""
        self._leases += 1
        return f"{self._label}-{os.getpid()}-{self._leases}"

    def write(self, kind: str, **fields: Any) -> None:
        """Write one event at once."""
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
    """A hash of a value; None for null."""
    return None if value is None else blake2b(value, digest_size=8).hexdigest()


def as_text(value: bytes | None) -> str | None:
    """Bytes in Base64, for JSON; None for null."""
    return None if value is None else base64.b64encode(value).decode()
