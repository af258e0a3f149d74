"""What a sidecar sends, whichever one it is: the real one, or this kit. Pure: events go in, faults come out.

The tests feed it with the traces of both, so that neither drifts away from the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance.events import Event, Kind
from sidecar.conformance.lives import DEAD_AT_ONCE, Life, Lives, offsets_of

Faults = Iterator[str]
_ACCEPTED = (pb.CHECKPOINT_OUTCOME_ACCEPTED, pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING)


class HostSide:
    """The events of one process, in the order in which either side has seen them."""

    def __init__(self) -> None:
        self.lives = Lives()
        self._welcome: dict[int, pb.Welcome] = {}
        self._pauses: dict[int, set[int]] = {}
        """The numbers of all pauses, by stream."""

    def see(self, event: Event) -> list[str]:
        """Take one event; returns what no sidecar may send."""
        found: list[str] = []
        life = self.lives.streams.get(event.stream)
        if event.kind is Kind.SENT and life is not None and isinstance(event.message, pb.HostFrame):
            found += (f"stream {life.stream}: {fault}" for fault in self._sent(life, event.message))
        elif event.kind is Kind.FRAME and isinstance(event.message, pb.LambdaFrame):
            if event.message.HasField("pause"):
                self._pauses.setdefault(event.stream, set()).add(event.message.pause.number)
        elif event.kind is Kind.ANSWERED and event.message is not None:
            found += (f"call {event.call}: {fault}" for fault in self._answered(event))
        elif event.kind is Kind.ENDED and life is not None and event.note.startswith("OK"):
            ended = life.closed is not None or life.half_closed
            found += [] if ended else [f"stream {life.stream}: OK, though the client has not ended it"]
        self.lives.see(event)
        return found

    # --- frames -----------------------------------------------------------------------------------------------

    def _sent(self, life: Life, frame: pb.HostFrame) -> Faults:
        kind = frame.WhichOneof("frame")
        welcomed = life.stream in self._welcome
        if kind is not None and welcomed == (kind == "welcome"):
            yield f"{kind}: Welcome comes first, and once"
        match kind:
            case "welcome":
                self._welcome[life.stream] = frame.welcome
                if life.offer is None:
                    yield "Welcome before Offer"
                yield from _welcome(frame.welcome, set(life.offer.capabilities if life.offer is not None else ()))
            case "assigned":
                yield from self._assigned(life, frame.assigned)
            case "batch":
                yield from self._batch(life, frame.batch)
            case "revoked":
                yield from _revoked(life, frame.revoked)
            case "committed":
                yield from _committed(life, frame.committed)
            case "resumed":
                if frame.resumed.number not in self._pauses.get(life.stream, set()):
                    yield f"Resumed.number {frame.resumed.number}: there was no such pause"
                if life.revoked is not None:
                    yield "Resumed after Revoked"
            case _ if life.assigned is not None:
                yield "an empty frame on a stream with a partition"
            case _:
                pass

    def _assigned(self, life: Life, assigned: pb.Assigned) -> Faults:
        if life.assigned is not None or not life.available:
            yield "Assigned twice, or before Available"
        if not assigned.lease or assigned.lease in self.lives.leases:
            yield "Assigned.lease is empty, or was given out before"
        if not assigned.topic or assigned.partition < 0 or assigned.attempt < 1:
            yield "Assigned names no topic, partition or attempt"
        if assigned.lane and assigned.lane >= assigned.lanes:
            yield f"Assigned has lane {assigned.lane} of {assigned.lanes}"
        most = self._welcome[life.stream].max_state_bytes if life.stream in self._welcome else 0
        if len(assigned.state) > most:
            yield f"Assigned.state has {len(assigned.state)} bytes, and Welcome.max_state_bytes is {most}"

    def _batch(self, life: Life, batch: pb.Batch) -> Faults:
        if not life.ready or life.revoked is not None or life.closed is not None:
            yield "Batch before Ready, or after Revoked or Closed"
        yield from _columns(batch)
        offsets = offsets_of(batch)
        if not offsets:
            return
        assert life.assigned is not None
        if life.assigned.HasField("start_offset") and offsets[0] < life.assigned.start_offset:
            yield f"Batch begins at {offsets[0]}, below start_offset {life.assigned.start_offset}"
        if offsets[0] <= life.last_delivered:
            yield f"Batch begins at {offsets[0]}, and {life.last_delivered} came before"
        window = self._welcome[life.stream].window_messages
        outstanding = sum(offset > life.told for offset in life.delivered) + len(offsets)
        outstanding -= life.entry.completed_beyond if life.entry is not None else 0
        if outstanding > max(1, window):
            yield f"{outstanding} records are outstanding, and the window has {window}"

    # --- answers ----------------------------------------------------------------------------------------------

    def _answered(self, event: Event) -> Faults:
        call = self.lives.calls.get(event.call)
        if call is None:
            return
        match call.request, event.message:
            case pb.CheckpointRequest() as request, pb.CheckpointResponse() as response:
                if len(request.entries) != len(response.results):
                    yield f"{len(response.results)} results for {len(request.entries)} entries"
                for entry, result in zip(request.entries, response.results, strict=False):
                    yield from self._result(entry, result)
            case pb.ErrorRequest() as request, pb.ErrorResponse() as response:
                yield from self._error(request, response)
            case pb.ProduceRequest() as request, pb.ProduceResponse() as response:
                yield from _produced(request, response)
                yield from self._commit(request, response)
            case _:
                yield "a response of another call"

    def _result(self, entry: pb.CheckpointEntry, result: pb.CheckpointResult) -> Faults:
        life = self.lives.leases.get(entry.lease)
        outcome = result.outcome
        if outcome not in pb.CheckpointOutcome.values() or not outcome:
            yield f"CheckpointResult.outcome is {outcome}"
        dead = life is None or life.acknowledged or (life.revoked is not None and life.revoked.reason in DEAD_AT_ONCE)
        if dead != (outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE) and (dead or not _may_be_dead(life)):
            yield f"a checkpoint with a lease that is {'dead' if dead else 'alive'} is answered with {outcome}"
        beyond = outcome == pb.CHECKPOINT_OUTCOME_BEYOND_DELIVERED
        if result.HasField("delivered") and not beyond:
            yield "CheckpointResult.delivered without BEYOND_DELIVERED"
        if beyond and result.HasField("delivered") and result.delivered >= entry.offset:
            yield f"BEYOND_DELIVERED for {entry.offset}, and {result.delivered} was delivered"

    def _commit(self, request: pb.ProduceRequest, response: pb.ProduceResponse) -> Faults:
        life = self.lives.leases.get(request.lease)
        exactly_once = life is not None and life.exactly_once
        held = {pb.PRODUCE_OUTCOME_HELD, pb.PRODUCE_OUTCOME_TOO_MUCH_HELD}
        if not exactly_once and held.intersection(response.outcomes):
            yield "HELD or TOO_MUCH_HELD, and the guarantee is at-least-once"
        written = pb.PRODUCE_OUTCOME_WRITTEN in response.outcomes
        if exactly_once and written and response.commit.outcome not in _ACCEPTED:
            yield "WRITTEN without a transaction, and the guarantee is exactly-once"
        if response.HasField("commit") and not request.HasField("commit"):
            yield "ProduceResponse.commit, and the request had none"

    def _error(self, request: pb.ErrorRequest, response: pb.ErrorResponse) -> Faults:
        life = self.lives.leases.get(request.lease)
        right = {
            pb.ERROR_ACTION_REPORT: {pb.ERROR_OUTCOME_REPORTED},
            pb.ERROR_ACTION_RESTART: {pb.ERROR_OUTCOME_RESTARTING, pb.ERROR_OUTCOME_HALTED},
            pb.ERROR_ACTION_CRITICAL: {
                pb.ERROR_OUTCOME_HALTED,
                pb.ERROR_OUTCOME_DEAD_LETTERED,
                pb.ERROR_OUTCOME_EXITING,
            },
        }[request.action]
        if life is None or not life.ready:  # creating the lambda has failed
            right = right | {pb.ERROR_OUTCOME_RESTARTING}
        if response.outcome not in right | {pb.ERROR_OUTCOME_STALE_LEASE}:
            yield f"ErrorResponse.outcome is {response.outcome} for action {request.action}"
        if response.retry_after_ms and response.outcome != pb.ERROR_OUTCOME_RESTARTING:
            yield "ErrorResponse.retry_after_ms without RESTARTING"


def _may_be_dead(life: Life | None) -> bool:
    """Whether a lease that is alive may be dead when the call comes: something is under way."""
    return life is None or life.over or life.closed is not None or life.revoked is not None or bool(life.errors)


def _welcome(welcome: pb.Welcome, offered: set[str]) -> Faults:
    if not isinstance(json.loads(welcome.settings_json), dict):
        yield "Welcome.settings_json is no JSON object"
    if welcome.protocol_version != 1 or not welcome.sidecar_version:
        yield "Welcome has another version than 1, or none of the sidecar"
    if not offered.issuperset(welcome.capabilities):
        yield f"Welcome.capabilities has {', '.join({*welcome.capabilities} - offered)}, which was not offered"
    if welcome.guarantee not in (pb.GUARANTEE_AT_LEAST_ONCE, pb.GUARANTEE_EXACTLY_ONCE):
        yield f"Welcome.guarantee is {welcome.guarantee}"
    sizes = (welcome.window_messages, welcome.window_bytes, welcome.max_frame_bytes, welcome.window_span)
    if not all(sizes):
        yield "Welcome has no window"
    missing = [one.name for one in pb.Limits.DESCRIPTOR.fields if not getattr(welcome.limits, one.name)]
    if missing:
        yield f"Welcome.limits has no {', '.join(missing)}"


def _revoked(life: Life, revoked: pb.Revoked) -> Faults:
    if life.assigned is None or life.revoked is not None:
        yield "Revoked twice, or on a spare stream"
    if revoked.reason not in pb.RevokeReason.values() or not revoked.reason:
        yield f"Revoked.reason is {revoked.reason}"
    if (revoked.reason in DEAD_AT_ONCE) != (revoked.deadline_ms == 0):
        yield f"Revoked.deadline_ms is {revoked.deadline_ms} with reason {revoked.reason}"


def _committed(life: Life, committed: pb.Committed) -> Faults:
    if life.welcome is None or "committed" not in life.welcome.capabilities:
        yield "Committed on a stream without the capability"
    elif not life.committed < committed.offset <= life.told:
        text = f"{life.committed} was committed before, and {life.told} was checkpointed"
        yield f"Committed.offset is {committed.offset}; {text}"


def _columns(batch: pb.Batch) -> Faults:
    count = len(batch.values)
    headers = len(batch.header_names)
    lengths = {
        "offsets": (len(batch.offsets), {0, count}),
        "timestamps": (len(batch.timestamps), {count}),
        "keys": (len(batch.keys), {0, count}),
        "header_counts": (len(batch.header_counts), {count} if headers else {0}),
        "header_values": (len(batch.header_values), {headers}),
    }
    yield from (f"Batch.{name} has {found} entries" for name, (found, right) in lengths.items() if found not in right)
    if not count or batch.timestamp_type not in pb.TimestampType.values():
        yield "Batch has no records, or an unknown type of timestamps"
    if sum(batch.header_counts) != headers:
        yield "Batch.header_counts do not add up"
    if batch.offsets and batch.offsets[0] != batch.first_offset:
        yield "Batch.first_offset is not the first of offsets"
    if any(a >= b for a, b in pairwise(offsets_of(batch))):
        yield "Batch.offsets do not ascend"
    yield from _nulls("keys", batch.keys, batch.null_keys)
    yield from _nulls("values", batch.values, batch.null_values)
    yield from _nulls("header_values", batch.header_values, batch.null_header_values)
    if batch.keys and len(batch.null_keys) == count:
        yield "Batch.keys is there, and every key is null"


def _nulls(name: str, column: Sequence[bytes], nulls: Sequence[int]) -> Faults:
    if any(index >= len(column) or column[index] for index in nulls):
        yield f"Batch.null_{name} names an entry that is not there, or not empty"
    if any(a >= b for a, b in pairwise(nulls)):
        yield f"Batch.null_{name} does not ascend"


def _produced(request: pb.ProduceRequest, response: pb.ProduceResponse) -> Faults:
    count = len(request.values)
    outcomes = [*response.outcomes]
    if not len(outcomes) == len(response.partitions) == len(response.offsets) == count:
        yield f"ProduceResponse has {len(outcomes)} outcomes for {count} records"
        return
    errors = [*response.errors] or [""] * count
    if len(errors) != count:
        yield f"ProduceResponse has {len(errors)} errors for {count} records"
        return
    for outcome, partition, offset, error in zip(
        outcomes, response.partitions, response.offsets, errors, strict=True
    ):
        written = outcome == pb.PRODUCE_OUTCOME_WRITTEN
        if outcome not in pb.ProduceOutcome.values() or not outcome:
            yield f"ProduceOutcome is {outcome}"
        held = outcome == pb.PRODUCE_OUTCOME_HELD
        if written != (offset >= 0 and partition >= 0) or (written or held) == bool(error):
            yield f"outcome {outcome} with partition {partition}, offset {offset} and the text {error!r}"
    if (pb.PRODUCE_OUTCOME_BUSY in outcomes) != bool(response.retry_after_ms):
        yield "retry_after_ms without BUSY, or BUSY without it"
    for whole in (pb.PRODUCE_OUTCOME_BUSY, pb.PRODUCE_OUTCOME_STALE_LEASE, pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED):
        if whole in outcomes and {*outcomes} != {whole}:
            yield f"outcome {whole} is about the whole request, and stands beside others"
