"""Mistakes about what is produced."""

from __future__ import annotations

import asyncio
from typing import Any

from sdk_python import _batch, _connection, _outcomes, _produce
from sdk_python._limits import Limits
from sdk_python.protocol import lambda_pb2 as pb
from tests.clients.python.mutations.planting import caught_by, put, wrap


@caught_by("checkpoint-waits", 29)
def _checkpoint_before_the_outcome() -> None:
    put(_outcomes.Outcomes, "admits", lambda *_: True)


@caught_by("outcome-before-closed", 29)
def _closed_with_what_is_not_confirmed() -> None:
    def make(old: Any) -> Any:
        def end(self: Any) -> list[int]:
            if self._held and not self._over:
                self._on_pass(self._held[-1])
            held: list[int] = old(self)
            return held

        return end

    wrap(_outcomes.Outcomes, "end", make)


@caught_by("unawaited-failure", 30)
def _unawaited_failure_is_ignored() -> None:
    put(_outcomes.Outcomes, "failed", lambda *_: None)
    put(_outcomes.Outcomes, "lost", lambda *_: None)


@caught_by("never-fits", 31)
def _too_large_is_asked_for_ever() -> None:
    put(Limits, "record_bytes", property(lambda _: 2**40))

    async def again(self: Any, batch: Any, places: Any, _: str) -> None:
        await asyncio.sleep(0.1)
        await self._send(batch, places)

    put(_produce.Producing, "_send_halves", again)


@caught_by("produce-in-order", 28)
def _two_produce_calls() -> None:
    def make(old: Any) -> Any:
        async def send_all(self: Any) -> None:
            tasks = set()
            while self._queue:
                batch = self._queue.popleft()
                self._close()
                tasks.add(asyncio.ensure_future(self._send(batch, range(len(batch)))))
                await asyncio.sleep(0)
            self._sender = None
            await asyncio.gather(*tasks)

        return send_all

    wrap(_produce.Producing, "_send_all", make)


@caught_by("busy-once", 32)
def _busy_is_asked_again_at_once() -> None:
    async def answer(self: Any, request: pb.ProduceRequest) -> Any:
        while True:
            response = await self._call(request)
            if {*response.outcomes} != {_produce._BUSY}:
                return response

    put(_produce.Producing, "_answer", answer)


@caught_by("busy-once", 32)
def _busy_goes_to_the_end_of_the_queue() -> None:
    def make(old: Any) -> Any:
        async def send(self: Any, batch: Any, places: Any) -> None:
            response = await self._call(batch.request(self._lease, places))
            if {*response.outcomes} != {_produce._BUSY}:
                await old(self, batch, places)
                return
            await asyncio.sleep(0.4)
            for place in reversed(places):
                await self._send(batch, [place])

        return send

    wrap(_produce.Producing, "_send", make)


@caught_by("others-allowed", 33)
def _one_topic_fails_the_others() -> None:
    put(_produce, "NOT_ALLOWED", pb.PRODUCE_OUTCOME_UNSPECIFIED)


@caught_by("never-answered", 34)
def _a_call_without_an_answer_is_repeated() -> None:
    def make(old: Any) -> Any:
        async def produce(self: Any, request: pb.ProduceRequest) -> Any:
            try:
                return await old(self, request)
            except _connection.LinkError:
                return await old(self, request)

        return produce

    wrap(_connection.Connection, "produce", make)


@caught_by("copy-null-keys", 28)
def _null_keys_without_keys() -> None:
    def make(old: Any) -> Any:
        def request(self: Any, lease: str, places: Any) -> pb.ProduceRequest:
            made: pb.ProduceRequest = old(self, lease, places)
            if not made.keys:
                made.null_keys.extend(range(len(made.values)))
            return made

        return request

    wrap(_batch.Batch, "request", make)


@caught_by("unspecified-outcome", 50)
def _outcome_zero_is_success() -> None:
    def make(old: Any) -> Any:
        async def answer(self: Any, request: pb.ProduceRequest) -> Any:
            response = await old(self, request)
            response.outcomes[:] = [outcome or _batch.WRITTEN for outcome in response.outcomes]
            return response

        return answer

    wrap(_produce.Producing, "_answer", make)
