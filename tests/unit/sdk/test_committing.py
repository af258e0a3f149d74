"""Exactly-once: which records go with which checkpoint, and what follows when one of the two fails."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from sdk_python import ProduceError, Record, _marks
from sdk_python._connection import LinkError
from sdk_python._limits import Limits
from sdk_python.protocol import lambda_pb2 as pb
from tests.unit import played_time

from .exactly_once import STALE, Sidecar, answer, turns


def values(request: pb.ProduceRequest) -> list[bytes]:
    return [*request.values]


def commit_of(request: pb.ProduceRequest) -> int | None:
    return request.commit.offset if request.HasField("commit") else None


async def test_records_and_the_checkpoint_after_them_go_in_one_call() -> None:
    sidecar = Sidecar()
    put, checkpoint = sidecar.producing.put, sidecar.progress.checkpoint
    first = put("t", b"1")
    put("t", b"2")
    checkpoint(5)
    put("t", b"3")  # after the checkpoint
    await turns()
    assert [(values(one), commit_of(one)) for one in sidecar.requests] == [([b"1", b"2"], 5)]
    put("t", b"4")
    checkpoint(6)
    sidecar.answers(sidecar.take)
    await turns()
    assert (values(sidecar.requests[1]), commit_of(sidecar.requests[1])) == ([b"3"], None)
    sidecar.answers(sidecar.take)
    await turns()
    assert (values(sidecar.requests[2]), commit_of(sidecar.requests[2])) == ([b"4"], 6)
    await sidecar.drain()
    assert (await first).offset == -1
    assert sidecar.commits == [(5, 2), (6, 4)]
    assert sidecar.progress.seal() is None, "all of it is accepted, and Closed says nothing more"


async def test_checkpoints_that_are_called_meanwhile_become_one() -> None:
    sidecar = Sidecar()
    for offset in range(100):
        sidecar.producing.put("t", b"%d" % offset)
        sidecar.progress.checkpoint(offset)
    await sidecar.drain()
    assert [(len(one.values), commit_of(one)) for one in sidecar.requests] == [(100, 99)]


async def test_without_records_a_checkpoint_goes_as_ever_and_after_the_first_record_alone() -> None:
    sidecar = Sidecar()
    sidecar.progress.checkpoint(1)
    sidecar.send_checkpoint()
    assert sidecar.checkpoint_call is not None
    sidecar.answer_checkpoint(well=True)
    sidecar.producing.put("t", b"x")
    sidecar.progress.checkpoint(2)
    await sidecar.drain()
    sidecar.progress.checkpoint(3)
    entry = sidecar.progress.take()
    assert entry is None or not entry.HasField("offset")
    await sidecar.drain()
    assert [(values(one), commit_of(one)) for one in sidecar.requests] == [([b"x"], 2), ([], 3)]


@pytest.mark.parametrize("well", [True, False])
async def test_the_first_record_waits_for_a_checkpoint_call_that_is_under_way(well: bool) -> None:
    """It would be held when the Checkpoint arrives, and be committed with the messages before its own."""
    sidecar = Sidecar()
    sidecar.progress.checkpoint(5)
    sidecar.send_checkpoint()
    sidecar.producing.put("t", b"x")
    await turns()
    assert sidecar.requests == []
    sidecar.answer_checkpoint(well=well)
    await turns()
    if not well:  # the checkpoint first, and by itself
        assert (values(sidecar.requests[0]), commit_of(sidecar.requests[0])) == ([], 5)
        sidecar.answers(sidecar.take)
        await turns()
    assert (values(sidecar.requests[-1]), commit_of(sidecar.requests[-1])) == ([b"x"], None)
    await sidecar.drain()
    assert sidecar.commits == [(5, 0)]


async def test_the_state_goes_with_the_commit() -> None:
    sidecar = Sidecar(max_state_bytes=10)
    sidecar.producing.put("t", b"x")
    sidecar.progress.checkpoint(5, b"five")
    sidecar.producing.put("t", b"y")
    sidecar.progress.checkpoint(6)
    sidecar.progress.checkpoint(7, b"")
    await turns()
    request = sidecar.requests[0]
    assert (request.commit.offset, request.commit.HasField("state"), request.commit.state) == (7, True, b"")
    sidecar.answers(sidecar.take)
    sidecar.progress.checkpoint(8)
    await turns()
    assert not sidecar.requests[1].commit.HasField("state"), "the sidecar has it"
    await sidecar.drain()


async def test_sources_are_sent_as_the_lambda_named_them() -> None:
    sidecar = Sidecar()
    sidecar.producing.put("t", b"1")
    sidecar.producing.put("t", b"2", source=7)
    sidecar.producing.put_many("t", [Record(b"3"), Record(b"4")], source=8)
    sidecar.producing.put("t", b"5")
    await turns()
    assert [*sidecar.requests[0].sources] == [-1, 7, 8, 8, -1]
    await sidecar.drain()
    sidecar.producing.put("t", b"6")
    await turns()
    assert [*sidecar.requests[1].sources] == []
    await sidecar.drain()
    for wrong, error in ((-1, ValueError), (2**63, ValueError), ("1", TypeError), (True, TypeError)):
        with pytest.raises(error, match="source"):
            sidecar.producing.put("t", b"7", source=wrong)  # type: ignore[arg-type]


async def test_a_record_that_is_produced_while_others_are_taken_has_its_own_source() -> None:
    sidecar = Sidecar()

    def rows() -> Iterator[Record]:
        yield Record(b"1")
        sidecar.producing.put("t", b"2", source=3)
        sidecar.producing.put_many("t", [Record(b"3")], source=4)
        yield Record(b"4")

    sidecar.producing.put_many("t", rows(), source=8)
    await turns()
    request = sidecar.requests[0]
    assert dict(zip(request.values, request.sources, strict=True)) == {b"1": 8, b"2": 3, b"3": 4, b"4": 8}
    await sidecar.drain()


async def test_large_batches_are_parts_and_the_last_one_has_the_checkpoint() -> None:
    sidecar = Sidecar(Limits(produce_records=3))
    for number in range(7):
        sidecar.producing.put("t", b"%d" % number)
    sidecar.progress.checkpoint(9)
    await sidecar.drain()
    assert [(len(one.values), commit_of(one)) for one in sidecar.requests] == [(3, None), (3, None), (1, 9)]
    assert sidecar.commits == [(9, 7)]


async def test_what_grpc_refuses_for_its_size_is_held_in_halves_and_then_committed() -> None:
    sidecar = Sidecar()
    outcomes = [sidecar.producing.put("t", b"%d" % number) for number in range(4)]
    sidecar.progress.checkpoint(3)
    outcomes.append(sidecar.producing.put("t", b"after"))
    await turns()
    for _ in range(2):  # the whole, and without the commit
        assert sidecar.answers(sidecar.too_large())
        await turns()
    await sidecar.drain()
    assert [len(one.values) for one in sidecar.requests] == [4, 4, 2, 2, 0, 1]
    assert [commit_of(one) for one in sidecar.requests] == [3, None, None, None, 3, None]
    assert sidecar.commits == [(3, 4)]
    await asyncio.gather(*outcomes)


async def test_a_busy_sidecar_gets_the_same_call_again() -> None:
    sidecar = Sidecar()
    sidecar.producing.put("t", b"x")
    sidecar.progress.checkpoint(1)
    await turns()
    sidecar.answers(sidecar.busy)
    await sidecar.drain()
    sidecar.progress.checkpoint(2)
    await turns()
    sidecar.answers(sidecar.busy)
    await sidecar.drain()
    assert [(values(one), commit_of(one)) for one in sidecar.requests] == [
        *(([b"x"], 1), ([b"x"], 1)),
        *(([], 2), ([], 2)),
    ]


async def test_code_that_awaits_a_record_does_not_wait_for_a_transaction() -> None:
    sidecar = Sidecar()

    async def handle(offset: int) -> None:
        assert (await sidecar.producing.put("t", b"%d" % offset)).offset == -1
        if offset % 2:
            rows = [Record(b"more %d" % offset), Record(b"much more")]
            assert [one.offset for one in await sidecar.producing.put_many("t", rows)] == [-1, -1]
        sidecar.progress.checkpoint(offset)

    first = asyncio.create_task(handle(0))
    await turns()
    assert sidecar.answers(sidecar.take)  # held
    await first
    for offset in range(1, 10):  # while the transaction of the first is under way
        await asyncio.wait_for(handle(offset), 5)
    await turns()
    assert [commit_of(one) for one in sidecar.requests] == [None, 0]
    await sidecar.drain()
    assert sidecar.commits == [(0, 1), (9, 20)]


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("kept", [True, False])
async def test_a_record_that_fails_after_it_was_held_here_fails_the_lambda(
    many: bool, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_marks, "PATIENCE_S", 0.05)
    sidecar = Sidecar()
    sidecar.producing.put("t", b"x")
    sidecar.progress.checkpoint(0)
    await turns()
    rows = [Record(b"y"), Record(b"z")]
    outcome: Any = sidecar.producing.put_many("u", rows) if many else sidecar.producing.put("u", b"y")
    await asyncio.wait_for(outcome, 5)
    if not kept:
        del outcome
    sidecar.progress.checkpoint(1)
    sidecar.answers(sidecar.take)
    await turns()

    def refuse(request: pb.ProduceRequest) -> pb.ProduceResponse:
        return answer(request, pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED, "no")

    assert sidecar.answers(refuse)
    async with asyncio.timeout(10):
        await sidecar.failed.wait()
    assert [str(error) for error in sidecar.failures] == ["not written to u (not_allowed): no"]
    assert sidecar.commits == [(0, 1)]


# -------------------------------------------------------------------------------------------------- failures


async def test_a_failure_that_is_received_lets_the_checkpoint_pass() -> None:
    sidecar = Sidecar()
    bad = sidecar.producing.put("forbidden", b"x")
    await turns()
    sidecar.answers(lambda request: answer(request, pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED, "no"))
    with pytest.raises(ProduceError, match="not_allowed"):
        await bad
    sidecar.producing.put("t", b"y")
    sidecar.progress.checkpoint(1)
    await sidecar.drain()
    assert (sidecar.commits, sidecar.visible, sidecar.failures) == ([(1, 1)], [b"y"], [])


@pytest.mark.parametrize("awaited", [True, False])
async def test_a_topic_that_is_not_allowed_stops_the_checkpoint_until_its_failure_is_received(
    awaited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call with the checkpoint is refused as a whole, and what follows the checkpoint waits."""
    if not awaited:
        monkeypatch.setattr(_marks, "PATIENCE_S", 0.05)
    sidecar = Sidecar()
    sidecar.producing.put("t", b"good")
    bad: Any = sidecar.producing.put("forbidden", b"bad")
    sidecar.progress.checkpoint(1)
    sidecar.producing.put("t", b"after")
    await turns()

    def refuse(request: pb.ProduceRequest) -> pb.ProduceResponse:
        if "forbidden" in request.topics:
            return answer(request, pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED, "no")
        return sidecar.take(request)

    reader = asyncio.ensure_future(asyncio.wait_for(bad, 5)) if awaited else None
    await turns()
    if not awaited:
        bad = None
    while sidecar.answers(refuse):
        await turns()
    if reader is None:
        async with asyncio.timeout(5):
            await sidecar.failed.wait()
        assert [str(error) for error in sidecar.failures] == ["not written to forbidden (not_allowed): no"]
        assert sidecar.commits == []
        sidecar.producing.end("over")
        return
    with pytest.raises(ProduceError):
        await reader
    async with asyncio.timeout(5):
        while sidecar.commits == []:
            await sidecar.drain()
            await asyncio.sleep(0.01)
    await sidecar.drain()
    assert (sidecar.commits, sidecar.visible, sidecar.held) == ([(1, 1)], [b"good"], [b"after"])


async def test_too_much_held_names_the_remedy() -> None:
    sidecar = Sidecar()
    outcome = sidecar.producing.put("t", b"x")
    await turns()
    sidecar.answers(lambda request: answer(request, pb.PRODUCE_OUTCOME_TOO_MUCH_HELD, "50000 records are held"))
    with pytest.raises(ProduceError, match=r"50000 records are held; call checkpoint more often") as caught:
        await outcome
    assert caught.value.kind == "too_much_held"


@pytest.mark.parametrize("with_commit", [True, False])
@pytest.mark.parametrize("error", [LinkError("the connection broke"), None])
async def test_a_call_without_an_answer_ends_the_lambda(with_commit: bool, error: Exception | None) -> None:
    sidecar = Sidecar()
    outcome = sidecar.producing.put("t", b"x")
    if with_commit:
        sidecar.progress.checkpoint(1)
    await turns()
    later = sidecar.producing.put("t", b"y")
    sidecar.answers(error or (lambda _: pb.ProduceResponse()))
    for one in (outcome, later):
        with pytest.raises(ProduceError):
            await one
    await sidecar.drain()
    (why,) = sidecar.broken
    assert "may be written or not" in why
    assert len(sidecar.requests) == 1
    assert (sidecar.failures, sidecar.progress.seal()) == ([], None)


async def test_an_aborted_transaction_sends_nothing_more_and_reports_nothing() -> None:
    """The sidecar says on the stream that the lease is over."""
    sidecar = Sidecar()
    outcome = sidecar.producing.put("t", b"x")
    nobody_awaits = [sidecar.producing.put("t", b"y")]
    sidecar.progress.checkpoint(1)
    await turns()
    nobody_awaits.append(sidecar.producing.put("t", b"z"))
    nobody_awaits.clear()
    sidecar.answers(lambda request: answer(request, pb.PRODUCE_OUTCOME_FAILED, "aborted", STALE))
    with pytest.raises(ProduceError, match="aborted"):
        await outcome
    with pytest.raises(ProduceError, match="over"):
        await sidecar.producing.put("t", b"later")
    sidecar.progress.checkpoint(2)
    await sidecar.drain()
    assert (len(sidecar.requests), sidecar.failures, sidecar.broken) == (1, [], [])


async def test_a_checkpoint_ahead_of_what_was_delivered_is_committed_when_it_has_come() -> None:
    sidecar = Sidecar()
    sidecar.progress.delivered_to(3)
    sidecar.producing.put("t", b"x")
    sidecar.progress.checkpoint(9)  # the lambda's own store knows
    await sidecar.drain()
    sidecar.progress.delivered_to(6)
    await sidecar.drain()
    sidecar.progress.delivered_to(20)
    await sidecar.drain()
    assert [offset for offset, _ in sidecar.commits] == [3, 6, 9]


# ----------------------------------------------------------------------------------------------------- model

STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 5)),
    st.tuples(st.sampled_from(["checkpoint", "answer", "busy", "too large", "send", "arrive", "lose", "turn"])),
)


class Model:
    """A lambda that produces and checkpoints, beside the sidecar that it does so with."""

    def __init__(self, limit: int) -> None:
        self.sidecar = Sidecar(Limits(produce_records=limit))
        self.records = 0
        self.before: list[int] = []
        """Of each checkpoint: how many records were produced before it."""

    def put(self, count: int) -> None:
        for _ in range(count):
            self.sidecar.producing.put("t", b"%d" % self.records)
            self.records += 1

    def step(self, what: str) -> None:
        sidecar = self.sidecar
        match what:
            case "checkpoint":
                self.before.append(self.records)
                sidecar.progress.checkpoint(len(self.before) - 1)
            case "answer":
                sidecar.answers(sidecar.take)
            case "busy":
                sidecar.answers(sidecar.busy)
            case "too large" if sidecar.requests and len(sidecar.requests[-1].values) > 1:
                sidecar.answers(sidecar.too_large())
            case "send":
                sidecar.send_checkpoint()
            case "arrive" | "lose":
                sidecar.answer_checkpoint(well=what == "arrive")

    def check(self) -> None:
        sidecar = self.sidecar
        assert (sidecar.failures, sidecar.broken) == ([], [])
        assert sidecar.visible + sidecar.held == [b"%d" % number for number in range(self.records)], "each once"
        for offset, visible in sidecar.commits:
            assert visible == self.before[offset], "with a checkpoint go all records before it, and none after it"
        offsets = [offset for offset, _ in sidecar.commits]
        assert offsets == sorted(set(offsets))
        last = [len(self.before) - 1] if self.before else []
        assert offsets[-1:] == last, "the last checkpoint is committed without another one"


async def play(steps: list[tuple[Any, ...]], limit: int) -> None:
    model = Model(limit)
    for step, *arguments in steps:
        if step == "put":
            model.put(*arguments)
        else:
            model.step(step)
        await turns()
    await model.sidecar.drain()
    model.check()


@settings(deadline=None, max_examples=300)
@given(steps=st.lists(STEPS, max_size=60), limit=st.integers(1, 8))
def test_each_record_goes_with_the_checkpoint_after_it(steps: list[tuple[Any, ...]], limit: int) -> None:
    played_time.run(play(steps, limit))
