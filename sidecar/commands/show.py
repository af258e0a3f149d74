"""The output of `kafka-sidecar status`: text for people, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from sdk_python.protocol import admin_pb2
from sidecar.visible import visible

_WIDE = (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64)
_WAITS_FOR_RESUME = (admin_pb2.PARTITION_STATE_HALTED, admin_pb2.PARTITION_STATE_PAUSED)
COLUMNS = (
    "PARTITION",
    "STATE",
    "PROCESS",
    "DELIVERED",
    "CHECKPOINT",
    "COMMITTED",
    "END",
    "LAG",
    "OUTSTANDING",
    "NOTE",
)


def status_json(status: Message) -> str:
    """The answer as JSON with the names of `proto/admin.proto`; numbers are numbers, absent fields are absent."""
    plain = MessageToDict(status, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return json.dumps(_with_numbers(plain, status), indent=2)


def status_text(status: admin_pb2.StatusResponse, now_ms: int) -> str:
    """The answer as aligned text.

    Args:
        status: what the sidecar answered.
        now_ms: the time, in milliseconds since the Unix epoch, for "since when".
    """
    status = all_visible(status)
    lines = [sidecar_line(status, now_ms)]
    for one in status.lambdas:
        lines += ["", *lambda_lines(one, now_ms)]
        if one.partitions:
            lines += (f"  {line}" for line in aligned([COLUMNS, *partition_rows(one, now_ms)]))
    return "\n".join(lines)


def sidecar_line(status: admin_pb2.StatusResponse, now_ms: int) -> str:
    """Which version the sidecar has, since when it runs, and where its Kafka is."""
    up = _ago(now_ms - status.started_at_ms)
    return f"kafka-sidecar {status.version}, up {up}, Kafka at {status.bootstrap_servers}"


def all_visible(status: admin_pb2.StatusResponse) -> admin_pb2.StatusResponse:
    """A copy in which every text can be shown in one line: most of them come from lambda processes."""
    copy = admin_pb2.StatusResponse()
    copy.CopyFrom(status)
    _make_visible(copy)
    return copy


def _make_visible(message: Message) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                _make_visible(inner)
        elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            if field.is_repeated:
                value[:] = [visible(text) for text in value]
            else:
                setattr(message, field.name, visible(value))


def lambda_lines(one: admin_pb2.Lambda, now_ms: int, where: str = "") -> Iterator[str]:
    """A line about the lambda, and one for each problem and process. ``where`` follows the lambda's name."""
    connected = "connected" if one.connected else "not connected to Kafka"
    joined = "in the group" if one.joined else "not in the group"
    counted = "".join(
        f"; {many(count, *words)}"
        for count, *words in (
            (one.dead_letters, "dead letter", "dead letters"),
            (one.hand_overs, "hand-over", "hand-overs"),
            (one.reports, "reported error", "reported errors"),
            (one.skipped_records, "skipped record", "skipped records"),
        )
        if count
    )
    yield f"{one.name}{where}: {', '.join(one.topics)} in group {one.group}; {connected}, {joined}{counted}"
    for problem in one.problems:
        yield f"  problem: {problem.text} (for {_ago(now_ms - problem.since_ms)})"
    if not one.processes:
        yield "  no lambda process is connected"
    for process in one.processes:
        pid = f", pid {process.pid}" if process.pid else ""
        spare = ", could take another" if process.spare else ""
        name = process.instance or process.process_id
        version = f", lambda version {process.lambda_version}" if process.lambda_version else ""
        identity = f", as {process.identity}" if process.identity else ""
        held = many(process.partitions, "partition", "partitions")
        yield f"  process {name}{pid} ({process.client}){version}{identity}: {held}{spare}"


def partition_rows(one: admin_pb2.Lambda, now_ms: int) -> list[tuple[str, ...]]:
    """A row with the `COLUMNS` for each partition."""
    names = {process.process_id: process.instance or process.process_id for process in one.processes}
    return [_row(one.name, partition, names, now_ms) for partition in one.partitions]


def _state(number: int) -> str:
    """The state in words. A sidecar of a newer version may have one that is not known here."""
    states = admin_pb2.PartitionState
    name = states.Name(number) if number in states.values() else f"state {number}"
    return name.removeprefix("PARTITION_STATE_").lower().replace("_", " ")


def _row(name: str, one: admin_pb2.Partition, processes: dict[str, str], now_ms: int) -> tuple[str, ...]:
    state = _state(one.state)
    lag = str(max(0, one.end - one.committed)) if one.HasField("end") and one.HasField("committed") else "-"
    offsets = [
        str(getattr(one, f)) if one.HasField(f) else "-" for f in ("delivered", "checkpoint", "committed", "end")
    ]
    holder = processes.get(one.process_id, one.process_id) or "-"
    return (
        f"{one.topic}/{one.partition}",
        state,
        holder,
        *offsets,
        lag,
        str(one.outstanding),
        "; ".join(_notes(name, one, now_ms)),
    )


def _notes(name: str, one: admin_pb2.Partition, now_ms: int) -> Iterator[str]:
    if one.reason:
        yield one.reason
    if one.HasField("failing_offset"):
        yield f"fails at offset {one.failing_offset}"
    if one.skipping_count:
        first = "the latest: " if one.skipping_count > len(one.skipping) else ""
        documents = many(one.skipping_count, "corrupt document", "corrupt documents")
        yield f"skips {documents} ({first}{', '.join(reversed(one.skipping))}), {one.skipped_records} records so far"
    if one.HasField("blocked_since_ms"):
        yield f"window full for {_ago(now_ms - one.blocked_since_ms)}"
    if one.HasField("stalled_since_ms"):
        yield f"no checkpoint for {_ago(now_ms - one.stalled_since_ms)}, {one.outstanding} unacknowledged"
    if one.attempt > 1:
        yield f"attempt {one.attempt}"
    if one.HasField("resumes_at_ms"):
        yield f"goes on by itself in {_ago(one.resumes_at_ms - now_ms)}"
    elif one.state in _WAITS_FOR_RESUME:
        yield f"kafka-sidecar resume {name}/{one.topic}/{one.partition}"


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def many(count: int, one: str, several: str) -> str:
    """A count with its noun: `1 byte`, `2 bytes`."""
    return f"{count} {one if count == 1 else several}"


def _ago(milliseconds: int) -> str:
    seconds = max(0, milliseconds) // 1000
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


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
