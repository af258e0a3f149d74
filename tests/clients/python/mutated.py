"""The conformance lambda in Python with one planted mistake in the SDK: each has to be caught by a case of the kit.

python -m tests.clients.python.mutated NAME
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from sdk_python import _checkpoints, _client, _connection, _life, _message, _outcomes, _pause_gate, _produce, serve
from sdk_python._dispatch import Dispatcher
from sdk_python._limits import Limits
from sdk_python._reporting import Reporting
from sdk_python.protocol import lambda_pb2 as pb

Plant = Callable[[], object]


class Mutation(NamedTuple):
    """A mistake, the case that has to catch it, and the rule that it breaks."""

    plant: Plant
    case: str
    rule: int


MUTATIONS: dict[str, Mutation] = {}


def caught_by(case: str, rule: int) -> Callable[[Plant], Plant]:
    """Note a mutation; its name is the function's."""

    def noted(plant: Plant) -> Plant:
        MUTATIONS[plant.__name__.strip("_").replace("_", "-")] = Mutation(plant, case, rule)
        return plant

    return noted


def _put(owner: Any, name: str, value: Any) -> None:
    """Replace an attribute."""
    setattr(owner, name, value)


def _wrap(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Replace a method by what ``make`` makes of it."""
    setattr(owner, name, make(getattr(owner, name)))


# --- streams ------------------------------------------------------------------------------------------------------


@caught_by("one-process-id", 1)
def _process_id_of_each_stream() -> None:
    def make(old: Any) -> Any:
        async def offer_once(self: Any) -> Any:
            self._offer = _client._offer(self.name, "")
            return await old(self)

        return offer_once

    _wrap(_client.Client, "_offer_once", make)


@caught_by("loads-first", 3)
def _available_before_loading() -> None:
    def make(old: Any) -> Any:
        async def created(self: Any, welcome: pb.Welcome) -> Any:
            await self._spare_stream.write(_client._AVAILABLE)
            return await old(self, welcome)

        return created

    def remembering(old: Any) -> Any:
        def opened(self: Any) -> Any:
            _put(_client.Client, "_spare_stream", stream := old(self))
            return stream

        return opened

    _wrap(_connection.Connection, "open", remembering)
    _wrap(_client.Client, "_created", make)


@caught_by("one-spare", 4)
def _two_spares() -> None:
    def make(old: Any) -> Any:
        async def keep_offering(self: Any) -> None:
            await asyncio.gather(old(self), old(self))

        return keep_offering

    _wrap(_client.Client, "_keep_offering", make)


@caught_by("old-one-first", 6)
def _ready_before_the_old_one_has_closed() -> None:
    _wrap(_life.Life, "run", lambda old: lambda self, **_: old(self))


@caught_by("old-one-after-break", 8)
def _offers_before_the_old_one_has_closed() -> None:
    async def at_once(self: Any) -> None:
        pass

    _put(_client.Client, "_old_lives_closed", at_once)


@caught_by("one-stream-breaks", 9)
def _one_break_ends_all() -> None:
    lives: list[Any] = []

    def remembering(old: Any) -> Any:
        def begun(self: Any, life: Any) -> None:
            lives.append(life)
            old(self, life)

        return begun

    def make(old: Any) -> Any:
        def lose(self: Any, why: str) -> None:
            for life in lives:
                life._link.close()
            old(self, why)

        return lose

    _wrap(_client.Client, "_begin", remembering)
    _wrap(_life.Life, "_lose", make)


@caught_by("unknown-frame", 50)
def _unknown_frame_is_an_error() -> None:
    def make(old: Any) -> Any:
        async def read(self: Any) -> Any:
            frame = await old(self)
            if frame is not None and frame.WhichOneof("frame") is None:
                raise _message.FrameError("an unknown frame")
            return frame

        return read

    _wrap(_connection.Stream, "read", make)


# --- records ------------------------------------------------------------------------------------------------------


@caught_by("gaps", 12)
def _offsets_are_counted() -> None:
    def make(old: Any) -> Any:
        def init(self: Any, batch: pb.Batch, topic: str, partition: int) -> None:
            old(self, batch, topic, partition)
            self._offsets = range(batch.first_offset, batch.first_offset + self.count)

        return init

    _wrap(_message.Columns, "__init__", make)


@caught_by("null-and-empty", 12)
def _null_is_empty() -> None:
    _put(_message, "_with_nulls", lambda column, _: list(column))


@caught_by("headers", 12)
def _duplicate_headers_are_lost() -> None:
    _wrap(_message, "_headers", lambda old: lambda batch: [tuple(dict(row).items()) for row in old(batch)])


@caught_by("header-names-are-bytes", 12)
def _header_names_are_text() -> None:
    _put(_message._Names, "__missing__", lambda _, name: name.decode(errors="replace"))


@caught_by("append-time", 12)
def _one_kind_of_time() -> None:
    def make(old: Any) -> Any:
        def init(self: Any, batch: pb.Batch, topic: str, partition: int) -> None:
            old(self, batch, topic, partition)
            self._kind = 1

        return init

    _wrap(_message.Columns, "__init__", make)


@caught_by("large-record", 49)
def _receives_less_than_offered() -> None:
    small = ("grpc.max_receive_message_length", 4 * 1024 * 1024)
    options = [small if name == small[0] else (name, value) for name, value in _connection._OPTIONS]
    _put(_connection, "_OPTIONS", options)


# --- deadlines ----------------------------------------------------------------------------------------------------


@caught_by("handler-cancelled", 14)
def _closed_after_the_deadline() -> None:
    _put(_life, "_HANDLER_SHARE", 1.1)


@caught_by("not-begun-is-dropped", 13)
def _what_waits_is_handled_after_revoked() -> None:
    _put(Dispatcher, "stop", lambda self: None if self.waiting or self._current else _stopped(self))


def _stopped(dispatcher: Any) -> None:
    dispatcher._stopped = True
    dispatcher._news.set()


@caught_by("read-ahead", 11)
def _reads_when_the_handler_is_ready() -> None:
    def make(old: Any) -> Any:
        async def take(self: Any, batch: pb.Batch) -> None:
            await old(self, batch)
            await self._dispatcher.idle.wait()

        return take

    _wrap(_pause_gate.PauseGate, "take", make)


# --- checkpoints --------------------------------------------------------------------------------------------------


@caught_by("one-checkpoint-call", 17)
def _two_checkpoint_calls() -> None:
    tasks: set[Any] = set()

    def make(old: Any) -> Any:
        async def send(self: Any, retry: float) -> float:
            task = asyncio.ensure_future(old(self, retry))
            tasks.add(task)
            await asyncio.sleep(0)
            return 0.0

        return send

    _wrap(_checkpoints.CheckpointSender, "_send", make)


@caught_by("checkpoint-again", 19)
def _failed_checkpoints_are_forgotten() -> None:
    _put(_checkpoints.LeaseProgress, "failed", lambda _: None)


@caught_by("far-beyond", 20)
def _what_is_beyond_delivered_is_forgotten() -> None:
    def make(old: Any) -> Any:
        def checkpoint(self: Any, offset: int) -> None:
            if offset <= self._delivered:
                old(self, offset)

        return checkpoint

    _wrap(_checkpoints.LeaseProgress, "checkpoint", make)


@caught_by("last-in-closed", 21)
def _closed_has_no_checkpoint() -> None:
    def make(old: Any) -> Any:
        async def write(self: Any, frame: pb.LambdaFrame) -> bool:
            if frame.HasField("closed"):
                frame.closed.ClearField("last_checkpoint")
            written: bool = await old(self, frame)
            return written

        return write

    _wrap(_life.Life, "_write", make)


@caught_by("unknown-outcome", 50)
def _unknown_outcome_is_acceptance() -> None:
    def make(old: Any) -> Any:
        def answered(self: Any, entry: pb.CheckpointEntry, _: Any) -> None:
            old(self, entry, pb.CheckpointResult(outcome=pb.CHECKPOINT_OUTCOME_ACCEPTED))

        return answered

    _wrap(_checkpoints.LeaseProgress, "answered", make)


# --- errors -------------------------------------------------------------------------------------------------------


@caught_by("error-carries-last", 21)
def _error_without_last_checkpoint() -> None:
    def make(old: Any) -> Any:
        def error_request(self: Any, failure: Any) -> pb.ErrorRequest:
            request: pb.ErrorRequest = old(self, failure)
            request.ClearField("last_checkpoint")
            return request

        return error_request

    _wrap(Reporting, "error_request", make)


@caught_by("error-below-offset", 23)
def _last_checkpoint_at_the_failing_offset() -> None:
    _wrap(_checkpoints.LeaseProgress, "seal", lambda old: lambda self, *_: old(self))


@caught_by("closed-waits-for-error", 25)
def _closed_before_the_response_to_error() -> None:
    tasks: set[Any] = set()

    def make(old: Any) -> Any:
        async def send_error(self: Any, request: pb.ErrorRequest) -> bool:
            tasks.add(asyncio.ensure_future(old(self, request)))
            await asyncio.sleep(0.05)
            return True

        return send_error

    _wrap(Reporting, "send_error", make)


@caught_by("error-unanswered", 26)
def _closed_though_error_got_no_response() -> None:
    def make(old: Any) -> Any:
        async def send_error(self: Any, request: pb.ErrorRequest) -> bool:
            await old(self, request)
            return True

        return send_error

    _wrap(Reporting, "send_error", make)


@caught_by("handler-fails", 27)
def _offset_zero_is_absent() -> None:
    def make(old: Any) -> Any:
        def request(self: Any, failure: Any) -> pb.ErrorRequest:
            made: pb.ErrorRequest = old(self, failure)
            if not made.offset:
                made.ClearField("offset")
            return made

        return request

    _wrap(Reporting, "_request", make)


# --- produce ------------------------------------------------------------------------------------------------------


@caught_by("checkpoint-waits", 29)
def _checkpoint_before_the_outcome() -> None:
    _put(_outcomes.Outcomes, "admits", lambda *_: True)


@caught_by("outcome-before-closed", 29)
def _closed_with_what_is_not_confirmed() -> None:
    def make(old: Any) -> Any:
        def end(self: Any) -> list[int]:
            if self._held and not self._over:
                self._on_pass(self._held[-1][1])
            held: list[int] = old(self)
            return held

        return end

    _wrap(_outcomes.Outcomes, "end", make)


@caught_by("unawaited-failure", 30)
def _unawaited_failure_is_ignored() -> None:
    _put(_outcomes.Outcomes, "failed", lambda *_: None)
    _put(_outcomes.Outcomes, "lost", lambda *_: None)


@caught_by("never-fits", 31)
def _too_large_is_asked_for_ever() -> None:
    _put(Limits, "record_bytes", property(lambda _: 2**40))

    async def again(self: Any, batch: Any, _: str) -> None:
        await asyncio.sleep(0.1)
        await self._send(batch)

    _put(_produce.Producing, "_send_halves", again)


@caught_by("produce-in-order", 28)
def _two_produce_calls() -> None:
    def make(old: Any) -> Any:
        async def send_all(self: Any) -> None:
            tasks = set()
            while self._queue:
                tasks.add(asyncio.ensure_future(self._send(self._taken())))
                await asyncio.sleep(0)
            self._sender = None
            await asyncio.gather(*tasks)

        return send_all

    _wrap(_produce.Producing, "_send_all", make)


@caught_by("busy-once", 32)
def _busy_is_asked_again_at_once() -> None:
    async def answer(self: Any, request: pb.ProduceRequest) -> Any:
        while True:
            response = await self._call(request)
            if {*response.outcomes} != {_produce._BUSY}:
                return response

    _put(_produce.Producing, "_answer", answer)


@caught_by("busy-once", 32)
def _busy_goes_to_the_end_of_the_queue() -> None:
    def make(old: Any) -> Any:
        async def send(self: Any, batch: Any) -> None:
            response = await self._call(_produce._request(self._lease, batch))
            if {*response.outcomes} != {_produce._BUSY}:
                await old(self, batch)
                return
            await asyncio.sleep(0.4)
            self._queue.extend(batch)
            await self._send(self._taken()[::-1])

        return send

    _wrap(_produce.Producing, "_send", make)


@caught_by("others-allowed", 33)
def _one_topic_fails_the_others() -> None:
    _put(_produce, "_NOT_ALLOWED", pb.PRODUCE_OUTCOME_UNSPECIFIED)


@caught_by("never-answered", 34)
def _a_call_without_an_answer_is_repeated() -> None:
    def make(old: Any) -> Any:
        async def produce(self: Any, request: pb.ProduceRequest) -> Any:
            try:
                return await old(self, request)
            except _connection.LinkError:
                return await old(self, request)

        return produce

    _wrap(_connection.Connection, "produce", make)


@caught_by("copy-null-keys", 28)
def _null_keys_without_keys() -> None:
    def make(old: Any) -> Any:
        def request(lease: str, batch: Any) -> pb.ProduceRequest:
            made: pb.ProduceRequest = old(lease, batch)
            if not made.keys:
                made.null_keys.extend(range(len(made.values)))
            return made

        return request

    _wrap(_produce, "_request", make)


@caught_by("unspecified-outcome", 50)
def _outcome_zero_is_success() -> None:
    def make(old: Any) -> Any:
        async def answer(self: Any, request: pb.ProduceRequest) -> Any:
            response = await old(self, request)
            response.outcomes[:] = [outcome or _produce._WRITTEN for outcome in response.outcomes]
            return response

        return answer

    _wrap(_produce.Producing, "_answer", make)


# --- pauses -------------------------------------------------------------------------------------------------------


@caught_by("old-resumed", 38)
def _any_resumed_ends_a_pause() -> None:
    def make(old: Any) -> Any:
        def resumed(self: Any, frame: pb.Resumed) -> None:
            old(self, pb.Resumed(number=self._number, from_offset=frame.from_offset))

        return resumed

    _wrap(_pause_gate.PauseGate, "resumed", make)


@caught_by("pause-again", 38)
def _void_frames_are_handled() -> None:
    def make(old: Any) -> Any:
        async def take(self: Any, batch: pb.Batch) -> None:
            rewind, self._rewind = self._rewind, None
            self._next_offset = min(self._next_offset, batch.first_offset)
            await old(self, batch)
            self._rewind = rewind

        return take

    _wrap(_pause_gate.PauseGate, "take", make)


# --- the end, and connections -------------------------------------------------------------------------------------


@caught_by("sigterm-idle", 41)
def _ends_with_another_exit_code() -> None:
    def make(old: Any) -> Any:
        def served(*arguments: Any) -> int:
            old(*arguments)
            return 1

        return served

    _wrap(serve, "_served", make)


@caught_by("sigterm-idle", 42)
def _a_spare_that_does_not_end() -> None:
    _wrap(_client.Client, "stop", lambda old: lambda self: old(self) if self._lives else None)


@caught_by("calls-have-their-own", 43)
def _streams_and_calls_on_one_connection() -> None:
    def make(old: Any) -> Any:
        def opened(self: Any) -> Any:
            self._streaming.setdefault(self._calls, 0)
            return old(self)

        return opened

    _wrap(_connection.Connection, "open", make)


@caught_by("hung-sidecar", 44)
def _no_pings() -> None:
    _put(_connection, "_OPTIONS", [(n, v) for n, v in _connection._OPTIONS if "keepalive" not in n])


@caught_by("backs-off", 45)
def _no_back_off() -> None:
    _put(_client, "_MAX_BACKOFF_S", 0.001)


@caught_by("sidecar-restarts", 45)
def _back_off_without_a_bound() -> None:
    _put(_client, "_MIN_BACKOFF_S", 6.0)
    _put(_client, "_MAX_BACKOFF_S", 60.0)


@caught_by("unknown-lambda", 46)
def _a_refused_process_stays() -> None:
    _wrap(_client.Client, "__init__", _welcomed)


def _welcomed(old: Any) -> Any:
    def init(self: Any, *arguments: Any) -> None:
        old(self, *arguments)
        self._welcomed = True

    return init


@caught_by("no-proxy", 47)
def _a_proxy_is_used() -> None:
    options = [(n, v) for n, v in _connection._OPTIONS if n != "grpc.enable_http_proxy"]
    _put(_connection, "_OPTIONS", options)


@caught_by("token", 48)
def _calls_without_the_token() -> None:
    def make(old: Any) -> Any:
        async def call(self: Any, *arguments: Any) -> Any:
            kept, self._metadata = self._metadata, None
            task = asyncio.ensure_future(old(self, *arguments))
            await asyncio.sleep(0)
            self._metadata = kept
            return await task

        return call

    _wrap(_connection.Connection, "_call", make)


if __name__ == "__main__":
    MUTATIONS[sys.argv[1]].plant()
    sys.exit(serve.main([os.environ["CONFORMANCE_LAMBDA"], "tests.clients.python.conformance"]))
