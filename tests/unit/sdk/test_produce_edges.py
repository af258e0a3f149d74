"""``context.produce``: what would stop the queue for good, if it got as far as the call."""

import asyncio
from typing import Any

import pytest

from sdk_python import Produced, ProduceError, Record
from sdk_python._counters import Counters
from sdk_python._limits import Limits
from sdk_python._outcomes import Outcomes
from sdk_python._produce import Producing
from sdk_python.protocol import lambda_pb2 as pb

PATIENCE = 60.0


class Sidecar:
    """Writes everything, unless it is told to answer something else once."""

    def __init__(self) -> None:
        self.requests: list[pb.ProduceRequest] = []
        self.answer: pb.ProduceResponse | None = None
        self.refused = ""
        self.producing = Producing(
            "L1", self.call, lambda _: None, Outcomes(lambda _: None, lambda _: None), Limits(), Counters()
        )

    async def call(self, request: pb.ProduceRequest) -> pb.ProduceResponse:
        self.requests.append(request)
        answer, self.answer = self.answer, None
        count = len(request.values)
        refused = [*request.topics] == [self.refused]
        outcome = pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED if refused else pb.PRODUCE_OUTCOME_WRITTEN
        return answer or pb.ProduceResponse(outcomes=[outcome] * count, partitions=[0] * count, offsets=range(count))


@pytest.fixture
async def sidecar() -> Sidecar:
    return Sidecar()


async def test_an_end_before_the_first_call_fails_the_records(sidecar: Sidecar) -> None:
    outcome = sidecar.producing.put("t", *Record(b"x"))
    sidecar.producing.end("over")
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ProduceError, match="over"):
            await outcome
        await sidecar.producing.drained()
    assert not sidecar.requests


@pytest.mark.parametrize(
    ("topic", "record"),
    [
        ("", Record(b"")),
        ("t" * 250, Record(b"")),
        ("\ud800", Record(b"")),
        ("t", Record("\ud800")),
        ("t", Record(b"", "\ud800")),
        ("t", Record(b"", headers=[("\ud800", b"")])),
        ("t", Record(b"", partition=2**31)),
    ],
)
async def test_names_and_texts_that_cannot_be_encoded_are_refused_at_once(
    sidecar: Sidecar, topic: str, record: Record
) -> None:
    good = [sidecar.producing.put("t", *Record(b"1"))]
    with pytest.raises(ValueError):  # noqa: PT011 - of UTF-8 too, whose words are not ours
        sidecar.producing.put(topic, *record)
    good.append(sidecar.producing.put("t", *Record(b"2")))
    assert await asyncio.gather(*good) == [Produced("t", 0, 0), Produced("t", 0, 1)]


async def test_a_header_name_that_was_read_is_sent_as_it_was(sidecar: Sidecar) -> None:
    """Whether it can be written is the sidecar's to say, of this record alone."""
    names = [b"a\0b", b"\xff\xfe", "ü".encode(), b""]
    headers = [(name.decode("utf-8", "surrogateescape"), b"") for name in names]
    await sidecar.producing.put("t", *Record(b"", headers=headers))
    (request,) = sidecar.requests
    assert [*request.header_names] == names


async def test_a_call_has_no_more_topics_than_the_sidecar_takes(sidecar: Sidecar) -> None:
    names = [f"t{number % 250}" for number in range(500)]
    await asyncio.gather(*[sidecar.producing.put(name, *Record(b"")) for name in names])
    assert [len(request.topics) for request in sidecar.requests] == [Limits().produce_topics] * 5
    assert [request.topics[index] for request in sidecar.requests for index in request.topic_indexes] == names


async def test_a_lambda_may_change_its_list_of_headers(sidecar: Sidecar) -> None:
    headers: list[tuple[str, bytes | None]] = [("a", b"1")]
    first = sidecar.producing.put("t", *Record(b"", headers=headers))
    headers[0] = ("b", b"2")
    headers.append(("c", None))
    once: Any = iter([("d", b"3")])
    second = sidecar.producing.put("t", *Record(b"", headers=once))
    await asyncio.gather(first, second)
    (request,) = sidecar.requests
    assert [*request.header_counts] == [1, 1]
    assert [*request.header_names] == [b"a", b"d"]
    assert [*request.header_values] == [b"1", b"3"]


@pytest.mark.parametrize("errors", [["one"], ["one", "two", "three"]])
async def test_an_answer_of_the_wrong_length_fails_its_records_only(sidecar: Sidecar, errors: list[str]) -> None:
    sidecar.answer = pb.ProduceResponse(
        outcomes=[pb.PRODUCE_OUTCOME_FAILED] * 2, partitions=[-1, -1], offsets=[-1, -1], errors=errors
    )
    lost = [sidecar.producing.put("t", *Record(b"")) for _ in range(2)]
    found = await asyncio.gather(*lost, return_exceptions=True)
    assert [type(one) for one in found] == [ProduceError] * 2
    assert await sidecar.producing.put("t", *Record(b"")) == Produced("t", 0, 0)
    await sidecar.producing.drained()


async def test_a_topic_that_is_not_allowed_fails_alone(sidecar: Sidecar) -> None:
    """The sidecar refuses a whole call for it."""
    refused = pb.ProduceResponse(
        outcomes=[pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED] * 5,
        partitions=[-1] * 5,
        offsets=[-1] * 5,
        errors=["b is not in `produce`"] * 5,
    )
    sidecar.refused, sidecar.answer = "b", refused
    topics = ["a", "b", "c", "a", "b"]
    outcomes = [sidecar.producing.put(topic, *Record(b"%d" % n)) for n, topic in enumerate(topics)]
    found = await asyncio.gather(*outcomes, return_exceptions=True)
    assert [one.kind if isinstance(one, ProduceError) else one for one in found] == [
        Produced("a", 0, 0),
        "not_allowed",
        Produced("c", 0, 0),
        Produced("a", 0, 1),
        "not_allowed",
    ]
    assert [[*request.values] for request in sidecar.requests[1:]] == [[b"0", b"3"], [b"1", b"4"], [b"2"]]
