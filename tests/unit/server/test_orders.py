"""Operators' calls for one partition: they are checked, passed on to the thread, and refused with a reason."""

import asyncio
from typing import Any

import grpc
import pytest

from sdk_python.protocol import admin_pb2 as pb
from sidecar.mail import letters
from sidecar.partitions.vocabulary import OrderRefused, RefusalKind, State, TopicPartition

from .bench import PATIENCE
from .server_lab import Lab

RAW_3 = TopicPartition("raw", 3)
WHERE: dict[str, Any] = {"lambda_name": "deli", "topic": "raw", "partition": 3}
ORDERS: list[tuple[str, type[Any], type[Any]]] = [
    ("Resume", pb.ResumeRequest, letters.Resume),
    ("Pause", pb.PauseRequest, letters.Pause),
    ("Seek", pb.SeekRequest, letters.Seek),
]


def call(method: Any, request: Any) -> asyncio.Future[Any]:
    """Begin a call that the test will answer."""

    async def response() -> Any:
        return await method(request, timeout=PATIENCE)

    return asyncio.ensure_future(response())


async def outcome(method: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    """The status and text of a refused call."""
    begun = method(request, timeout=PATIENCE)
    return await begun.code(), await begun.details()


def order(kind: type[Any], **fields: Any) -> Any:
    """A valid request, unless ``fields`` make it invalid."""
    to = {"offset": 1} if kind is pb.SeekRequest else {}
    return kind(**{**WHERE, **to, **fields})


async def test_resume(lab: Lab) -> None:
    response = call(lab.admin.Resume, order(pb.ResumeRequest, skip=True))
    letter = await lab.deli.expect(letters.Resume)
    assert (letter.partition, letter.skip) == (RAW_3, True)
    lab.deli.answer(letter, (9, 8))
    assert await response == pb.ResumeResponse(from_offset=9, skipped=8)
    response = call(lab.admin.Resume, order(pb.ResumeRequest))
    lab.deli.answer(await lab.deli.expect(letters.Resume), (0, None))
    assert not (await response).HasField("skipped")


@pytest.mark.parametrize(("said", "told"), [("", ""), ("a deploy", "a deploy"), ("€" * 1000, "€" * 341)])
async def test_pause(lab: Lab, said: str, told: str) -> None:
    response = call(lab.admin.Pause, order(pb.PauseRequest, reason=said))
    letter = await lab.deli.expect(letters.Pause)
    assert (letter.partition, letter.reason) == (RAW_3, told)
    lab.deli.answer(letter, 9)
    assert await response == pb.PauseResponse(from_offset=9)


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ({"offset": 0}, letters.SeekTo("offset", 0)),
        ({"offset": 7}, letters.SeekTo("offset", 7)),
        ({"timestamp_ms": 0}, letters.SeekTo("timestamp", 0)),
        ({"timestamp_ms": 1_700_000_000_000}, letters.SeekTo("timestamp", 1_700_000_000_000)),
        ({"edge": pb.EDGE_EARLIEST}, letters.SeekTo("earliest")),
        ({"edge": pb.EDGE_LATEST}, letters.SeekTo("latest")),
    ],
)
async def test_seek(lab: Lab, to: dict[str, Any], told: letters.SeekTo) -> None:
    response = call(lab.admin.Seek, pb.SeekRequest(**WHERE, **to))
    letter = await lab.deli.expect(letters.Seek)
    assert (letter.partition, letter.to) == (RAW_3, told)
    lab.deli.answer(letter, (5, 2, State.PAUSED))
    assert await response == pb.SeekResponse(from_offset=5, was_at=2, state=pb.PARTITION_STATE_PAUSED)


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ({}, "to: missing; it is one of offset, timestamp_ms, edge"),
        ({"offset": -1}, "offset: -1 is negative"),
        ({"timestamp_ms": -1}, "timestamp_ms: -1 is negative"),
        ({"edge": pb.EDGE_UNSPECIFIED}, "edge: 0 is none of EARLIEST, LATEST"),
        ({"edge": 9}, "edge: 9 is none of EARLIEST, LATEST"),
    ],
)
async def test_a_seek_without_a_valid_target_is_refused(lab: Lab, to: dict[str, Any], text: str) -> None:
    request = pb.SeekRequest(**WHERE, **to)
    assert await outcome(lab.admin.Seek, request) == (grpc.StatusCode.INVALID_ARGUMENT, text)
    assert lab.deli.empty()


@pytest.mark.parametrize(("method", "kind", "_letter"), ORDERS)
@pytest.mark.parametrize(
    ("wrong", "code", "text"),
    [
        (
            {"lambda_name": "delli"},
            grpc.StatusCode.NOT_FOUND,
            "there is no lambda 'delli'; there are: deli, scribe",
        ),
        ({"topic": ""}, grpc.StatusCode.INVALID_ARGUMENT, "topic: missing"),
        ({"partition": -1}, grpc.StatusCode.INVALID_ARGUMENT, "partition: -1 is negative"),
    ],
)
async def test_an_invalid_partition_is_refused(
    lab: Lab, method: str, kind: Any, _letter: Any, wrong: dict[str, Any], code: grpc.StatusCode, text: str
) -> None:
    assert await outcome(getattr(lab.admin, method), order(kind, **wrong)) == (code, text)
    assert lab.deli.empty()


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("unknown", grpc.StatusCode.NOT_FOUND),
        ("state", grpc.StatusCode.FAILED_PRECONDITION),
        ("range", grpc.StatusCode.OUT_OF_RANGE),
        ("kafka", grpc.StatusCode.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize(("method", "request_", "letter"), ORDERS)
async def test_a_refused_order(
    lab: Lab, method: str, request_: Any, letter: Any, kind: RefusalKind, code: grpc.StatusCode
) -> None:
    begun = asyncio.ensure_future(outcome(getattr(lab.admin, method), order(request_)))
    lab.deli.answer(await lab.deli.expect(letter), error=OrderRefused("raw/3 is not halted", kind))
    assert await begun == (code, "raw/3 is not halted")


@pytest.mark.parametrize(("method", "request_", "_letter"), ORDERS)
async def test_an_order_to_a_thread_that_has_ended(lab: Lab, method: str, request_: Any, _letter: Any) -> None:
    lab.deli.close()
    code, text = await outcome(getattr(lab.admin, method), order(request_))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "the sidecar is stopping" in text


@pytest.mark.parametrize(("method", "request_", "letter"), ORDERS)
async def test_an_answer_to_an_operator_who_has_gone(lab: Lab, method: str, request_: Any, letter: Any) -> None:
    begun = getattr(lab.admin, method)(order(request_))
    asked = await lab.deli.expect(letter)
    gone = asyncio.Event()
    asked.reply.future.add_done_callback(lambda _: gone.set())
    begun.cancel()
    async with asyncio.timeout(PATIENCE):
        await gone.wait()
    lab.deli.answer(asked, error=OrderRefused("too late"))
    await test_pause(lab, "", "")
