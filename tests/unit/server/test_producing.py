"""The call Produce: refusals, the records that the lambda producer gets, and the outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from hypothesis import given, settings, strategies as st

from sdk_python._counters import Counters
from sdk_python._limits import Limits
from sdk_python._outcomes import Outcomes
from sdk_python._produce import Producing
from sdk_python.protocol import lambda_pb2 as pb
from sidecar.mail import letters
from sidecar.partitions.vocabulary import ErrorOutcome, Revoke, RevokeReason
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.producing.outcomes import FullError, Outgoing, Written
from sidecar.server import frames, producing
from sidecar.server.frames import InvalidFrameError
from sidecar.server.identities import ANYBODY
from sidecar.server.producing import MAX_RECORDS, MAX_TOPICS, nothing_written, outgoing, refused_topic
from sidecar.server.runtime import LambdaRuntime
from tests.unit.snapshots import lambda_status

from .bench import PATIENCE
from .wire import Client, Wire, lambda_config

ALLOWED = ("out", "more")
Code = grpc.StatusCode


class Bin(LambdaProducer):
    """A lambda producer that keeps its records, and answers when the test says so."""

    def __init__(self) -> None:
        super().__init__("deli", {})
        self.got: list[tuple[list[Outgoing], int]] = []
        self.came = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None

    async def write(self, records: Sequence[Outgoing], size: int) -> Written:
        self.got.append(([*records], size))
        self.came.set()
        if self.failure is not None:
            raise self.failure
        await self.open.wait()
        count = len(records)
        return Written([1] * count, [0] * count, [*range(count)], [""] * count)

    @property
    def values(self) -> list[bytes | None]:
        return [record.value for records, _ in self.got for record in records]


@pytest.fixture
async def lambda_producer(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Bin:
    """Without the native extension, so that the test sees records: `test_asked.py` has the requests."""
    monkeypatch.setattr(producing, "extension", lambda: None)
    made = Bin()
    config = lambda_config("deli").model_copy(update={"produce": ALLOWED})
    wire.hosted["deli"] = LambdaRuntime(config, wire.deli, made)
    return made


def request(lease: str = "L1", **fields: Any) -> pb.ProduceRequest:
    """A request with one record for `out`, unless ``fields`` differ."""
    return pb.ProduceRequest(**{"lease": lease, "topics": ["out"], "values": [b"x"], **fields})


async def produced(client: Client, asked: pb.ProduceRequest) -> pb.ProduceResponse:
    return pb.ProduceResponse.FromString(await client.unary("Produce", asked))


# --- columns ------------------------------------------------------------------------------------------------------

TWO: dict[str, Any] = {"values": [b"a", b""]}

MALFORMED: list[tuple[str, dict[str, Any]]] = [
    ("lease: missing", {"lease": ""}),
    ("values: 0 records", {"values": []}),
    (f"values: {MAX_RECORDS + 1} records", {"values": [b""] * (MAX_RECORDS + 1)}),
    ("topics: 0, a request has 1", {"topics": []}),
    (f"topics: {MAX_TOPICS + 1}, a request has 1", {"topics": ["out"] * (MAX_TOPICS + 1)}),
    ("topic_indexes: 1 entries, one per record would be 2", {**TWO, "topic_indexes": [0]}),
    ("topic_indexes: 1, but there are 1 topics", {**TWO, "topic_indexes": [0, 1]}),
    ("keys: 1 entries, one per record would be 2", {**TWO, "keys": [b""]}),
    ("keys: 3 entries", {**TWO, "keys": [b""] * 3}),
    ("null_keys: not ascending indexes into keys, which has 0", {"null_keys": [0]}),
    ("null_keys: not ascending", {**TWO, "keys": [b"", b""], "null_keys": [2]}),
    ("null_keys: not ascending", {**TWO, "keys": [b"", b""], "null_keys": [1, 0]}),
    ("null_keys: not ascending", {**TWO, "keys": [b"", b""], "null_keys": [1, 1]}),
    ("null_keys: entry 0 of keys is not empty", {**TWO, "keys": [b"k", b""], "null_keys": [0]}),
    ("null_values: not ascending", {**TWO, "null_values": [0, 4_000_000_000]}),
    ("null_values: entry 0 of values is not empty", {**TWO, "null_values": [0, 1]}),
    ("partitions: 1 entries", {**TWO, "partitions": [0]}),
    ("header_counts: missing", {"header_names": [b"a"], "header_values": [b""]}),
    ("header_counts: missing", {"header_names": [b"a"]}),
    ("header_counts: missing", {"header_values": [b"a"]}),
    ("header_counts: missing", {"null_header_values": [0]}),
    ("header_counts: 1 entries", {**TWO, "header_counts": [0]}),
    ("header_names: 0, but header_counts add up to 1", {"header_counts": [1]}),
    ("header_names: 1, but header_counts add up to 8589934590", {**TWO, "header_counts": [2**32 - 1] * 2} | {
        "header_names": [b"a"], "header_values": [b""]}),
    ("header_values: 0 entries, one per header would be 1", {"header_counts": [1], "header_names": [b"a"]}),
    (
        "null_header_values: entry 0 of header_values is not empty",
        {"header_counts": [1], "header_names": [b"a"], "header_values": [b"x"], "null_header_values": [0]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "fields"), MALFORMED)
async def test_malformed_columns_are_refused_by_name(
    wire: Wire, client: Client, lambda_producer: Bin, text: str, fields: dict[str, Any]
) -> None:
    await wire.assigned(client, "L1")
    code, details = await client.refused("Produce", request(**fields))
    assert code is Code.INVALID_ARGUMENT
    assert text in details
    assert not lambda_producer.got
    assert (await produced(client, request())).outcomes == [pb.PRODUCE_OUTCOME_WRITTEN]


async def test_bytes_that_are_no_request_are_refused(client: Client) -> None:
    code, _ = await client.refused("Produce", b"\xff\xff\xff garbage")
    assert code is Code.INVALID_ARGUMENT


def test_columns_become_records() -> None:
    made = outgoing(
        request(
            topics=["a", "b"],
            topic_indexes=[1, 0, 1],
            keys=[b"k", b"", b""],
            null_keys=[2],
            values=[b"v", b"", b""],
            null_values=[1],
            partitions=[3, -1, 0],
            header_counts=[2, 0, 1],
            header_names=[b"h", b"h", "ü".encode()],
            header_values=[b"1", b"", b""],
            null_header_values=[2],
        )
    )
    assert [record._replace(headers=[*record.headers]) for record in made] == [
        Outgoing("b", b"k", b"v", 3, [("h", b"1"), ("h", b"")]),
        Outgoing("a", b"", None, -1, []),
        Outgoing("b", None, b"", 0, [("ü", None)]),
    ]


NAMES: list[tuple[bytes, str]] = [
    (b"a\0b", "a header name has a NUL"),
    (b"\0", "a header name has a NUL"),
    (b"\xff\xfe", "a header name is not UTF-8"),
    ("ü".encode()[:1], "a header name is not UTF-8"),
    (b"\xed\xb3\xbf", "a header name is not UTF-8"),  # a lone surrogate, at which the binding ends the process
]


@pytest.mark.parametrize(("name", "text"), NAMES)
def test_a_record_that_cannot_be_written_is_refused_alone(name: bytes, text: str) -> None:
    made = outgoing(
        request(
            values=[b"1", b"2", b"3", b"4"],
            partitions=[0, 0, 0, -2],
            header_counts=[1, 2, 1, 0],
            header_names=[b"h", b"h", name, b"h"],
            header_values=[b"1", b"2", b"3", b"4"],
        )
    )
    refusals = [record.refusal for record in made]
    assert (refusals[0], refusals[2]) == ("", "")
    assert refusals[1].startswith(text)
    assert refusals[3] == "partition -2 does not exist; -1 is: by key"
    assert [record.headers for record in made] == [[("h", b"1")], (), [("h", b"4")], []]


@pytest.mark.parametrize(("name", "text"), NAMES)
async def test_a_name_that_cannot_be_written_does_not_stop_the_others(
    wire: Wire, client: Client, lambda_producer: Bin, name: bytes, text: str
) -> None:
    await wire.assigned(client, "L1")
    asked = request(values=[b"1", b"2"], header_counts=[0, 1], header_names=[name], header_values=[b""])
    await produced(client, asked)
    ((records, _),) = lambda_producer.got
    assert [record.value for record in records] == [b"1", b"2"]
    assert records[0].refusal == ""
    assert records[1].refusal.startswith(text)


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
contents = st.none() | st.binary(max_size=8)
records = st.builds(
    Outgoing,
    topic=st.sampled_from(["a", "b", "c"]),
    key=contents,
    value=contents,
    partition=st.integers(-1, 2**31 - 1),
    headers=st.lists(st.tuples(texts, contents), max_size=3),
    refusal=st.just(""),
)


@given(st.lists(records, min_size=1, max_size=20))
def test_the_lambda_producer_gets_the_records_that_the_sdk_sends(wanted: list[Outgoing]) -> None:
    (wired,) = asyncio.run(sent_by_the_sdk(wanted))
    assert [record._replace(headers=[*record.headers]) for record in outgoing(wired)] == wanted


async def sent_by_the_sdk(records: list[Outgoing]) -> list[pb.ProduceRequest]:
    """The requests, as they are on the wire."""
    requests: list[pb.ProduceRequest] = []

    async def call(request: pb.ProduceRequest) -> pb.ProduceResponse:
        requests.append(pb.ProduceRequest.FromString(request.SerializeToString()))
        count = len(request.values)
        outcomes = [pb.PRODUCE_OUTCOME_WRITTEN] * count
        return pb.ProduceResponse(outcomes=outcomes, partitions=[0] * count, offsets=range(count))

    counts = Outcomes(lambda _: None, lambda _: None)
    producing = Producing("L1", call, lambda _: None, counts, Limits(), Counters())
    for r in records:
        producing.put(r.topic, r.value, r.key, [*r.headers], None if r.partition < 0 else r.partition)
    await producing.drained()
    return requests


small = st.integers(0, 4)
counts = st.lists(small, max_size=4)
binaries = st.lists(st.binary(max_size=2), max_size=4)
requests = st.builds(
    pb.ProduceRequest,
    lease=st.just("L1"),
    topics=st.lists(st.just("out"), max_size=3),
    topic_indexes=counts,
    keys=binaries,
    values=binaries,
    null_keys=counts,
    null_values=counts,
    partitions=st.lists(st.integers(-2, 2), max_size=4),
    header_counts=counts,
    header_names=st.lists(st.sampled_from([b"", b"a", b"\0", b"\xff"]), max_size=4),
    header_values=binaries,
    null_header_values=counts,
)


@settings(max_examples=300)
@given(requests)
def test_any_columns_are_records_or_refused(asked: pb.ProduceRequest) -> None:
    named = ""
    try:
        made = outgoing(asked)
    except InvalidFrameError as refusal:
        named = str(refusal).partition(":")[0]
    else:
        assert [record.value or b"" for record in made] == [*asked.values]
        good = [record for record in made if not record.refusal]
        bad_names = sum(b"\0" in name or b"\xff" in name for name in asked.header_names)
        assert all(record.partition >= -1 for record in good)
        assert bad_names or sum(len(record.headers) for record in made) == len(asked.header_names)
    assert not named or named in pb.ProduceRequest.DESCRIPTOR.fields_by_name


@given(st.binary(max_size=200) | requests.map(lambda r: r.SerializeToString()).flatmap(
    lambda data: st.integers(0, len(data)).map(lambda at: data[:at])
))  # fmt: skip
def test_any_bytes_are_records_or_refused(data: bytes) -> None:
    try:
        made = outgoing(frames.parse(pb.ProduceRequest, data))
    except InvalidFrameError:
        return
    assert made


@pytest.mark.parametrize("topic", ["x", "x" * 900_000, "\n" * 900_000, "ü" * 400_000])
def test_the_answer_to_many_records_stays_small(topic: str) -> None:
    """Each of ten thousand records has an error text: it must not repeat the client's text in full."""
    asked = request(topics=[topic], values=[b""] * MAX_RECORDS)
    config = lambda_config("deli").model_copy(update={"produce": tuple("y" * 200 + str(n) for n in range(9))})
    text = refused_topic(asked.topics, config, ANYBODY.identity)
    answer = nothing_written(len(asked.values), pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED, text)
    assert len(answer) < 4 * 1024 * 1024
    errors = pb.ProduceResponse.FromString(answer).errors
    assert len(errors) == MAX_RECORDS
    assert errors[-1].startswith(f"the topic {topic[0]!r}"[:-1])


# --- leases -------------------------------------------------------------------------------------------------------


async def test_records_go_to_the_lambdas_producer(wire: Wire, client: Client, lambda_producer: Bin) -> None:
    await wire.assigned(client, "L1")
    asked = request(values=[b"a", b"b"], keys=[b"k", b""], null_keys=[1], topics=["more"])
    answer = await produced(client, asked)
    assert answer == pb.ProduceResponse(outcomes=[1, 1], partitions=[0, 0], offsets=[0, 1])  # type: ignore[list-item]
    assert lambda_producer.got == [
        ([Outgoing("more", b"k", b"a", -1, ()), Outgoing("more", None, b"b", -1, ())], asked.ByteSize())
    ]


async def must_be_stale(client: Client, lambda_producer: Bin, lease: str = "L1") -> None:
    before = len(lambda_producer.got)
    answer = await produced(client, request(lease, values=[b"a", b"b"], topics=["nowhere"]))
    assert [*answer.outcomes] == [pb.PRODUCE_OUTCOME_STALE_LEASE] * 2
    assert ([*answer.partitions], [*answer.offsets]) == ([-1, -1], [-1, -1])
    assert all("lease is dead" in error for error in answer.errors)
    assert len(lambda_producer.got) == before


async def test_an_unknown_lease_is_stale(wire: Wire, client: Client, lambda_producer: Bin) -> None:
    await wire.assigned(client, "L1")
    await must_be_stale(client, lambda_producer, "L2")
    await must_be_stale(client, lambda_producer, "l1")


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_a_lease_whose_stream_is_over(wire: Wire, client: Client, lambda_producer: Bin, how: str) -> None:
    call, _ = await wire.assigned(client, "L1")
    if how == "closed":
        await call.say(closed=pb.Closed(reason=pb.CLOSED_REASON_STOPPED))
        await wire.deli.expect(letters.Closed)
    else:
        call.cancel()
    await wire.deli.expect(letters.StreamLost)
    await must_be_stale(client, lambda_producer)


@pytest.mark.parametrize("action", [pb.ERROR_ACTION_RESTART, pb.ERROR_ACTION_CRITICAL, pb.ERROR_ACTION_REPORT])
async def test_after_an_error_nothing_is_written(
    wire: Wire, client: Client, lambda_producer: Bin, action: Any
) -> None:
    await wire.assigned(client, "L1")
    wire.deli.answers[letters.Failed] = (ErrorOutcome.RESTARTING, 1.0)
    await client.unary("Error", pb.ErrorRequest(lease="L1", action=action))
    if action == pb.ERROR_ACTION_REPORT:
        await produced(client, request())
        assert lambda_producer.values == [b"x"]
    else:
        await must_be_stale(client, lambda_producer)


@pytest.mark.parametrize("reason", RevokeReason)
async def test_a_draining_lambda_may_write_unless_the_partition_is_lost(
    wire: Wire, client: Client, lambda_producer: Bin, reason: RevokeReason
) -> None:
    call, stream = await wire.assigned(client, "L1")
    wire.deli.say(Revoke(stream, reason, 5.0))
    await call.expect("revoked")
    if reason in (RevokeReason.LOST, RevokeReason.SEEK, RevokeReason.ABORTED):
        await must_be_stale(client, lambda_producer)
    else:
        await produced(client, request())
        assert lambda_producer.values == [b"x"]


@pytest.mark.parametrize("topics", [["other"], ["out", "other"], ["out", ""], ["Out"]])
async def test_a_topic_that_is_not_allowed(
    wire: Wire, client: Client, lambda_producer: Bin, topics: list[str]
) -> None:
    call, _ = await wire.assigned(client, "L1")
    answer = await produced(client, request(topics=topics, values=[b"a", b"b"]))
    assert [*answer.outcomes] == [pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED] * 2
    assert f"{topics[-1]!r} is not in `produce`" in answer.errors[1]
    assert "allows: out, more" in answer.errors[1]
    assert not lambda_producer.got
    await produced(client, request())
    assert lambda_producer.values == [b"x"]
    call.cancel()


async def test_a_lambda_that_may_produce_nothing(wire: Wire, client: Client) -> None:
    await wire.assigned(client, "L1")
    answer = await produced(client, request())
    assert [*answer.outcomes] == [pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED]
    assert answer.errors[0].endswith("allows: none")


# --- one at a time ------------------------------------------------------------------------------------------------


async def begun(client: Client, lambda_producer: Bin, asked: pb.ProduceRequest) -> asyncio.Task[pb.ProduceResponse]:
    """Begin a call whose records the lambda producer gets without answering."""
    lambda_producer.came.clear()
    lambda_producer.open.clear()
    task = asyncio.create_task(produced(client, asked))
    async with asyncio.timeout(PATIENCE):
        await lambda_producer.came.wait()
    return task


async def test_one_call_of_a_lease_at_a_time(wire: Wire, client: Client, lambda_producer: Bin) -> None:
    await wire.assigned(client, "L1")
    await wire.assigned(client, "L2", process_id="p2")
    first = await begun(client, lambda_producer, request(values=[b"1"]))
    answer = await produced(client, request(values=[b"2", b"2"]))
    assert [*answer.outcomes] == [pb.PRODUCE_OUTCOME_BUSY] * 2
    assert ([*answer.partitions], [*answer.offsets]) == ([-1, -1], [-1, -1])
    assert answer.retry_after_ms == producing.BUSY_LEASE_MS
    assert answer.errors[0].startswith("the call Produce before this one")
    assert lambda_producer.values == [b"1"]
    # Another lease is independent.
    other = await begun(client, lambda_producer, request("L2", values=[b"3"]))
    lambda_producer.open.set()
    await asyncio.gather(first, other)
    await produced(client, request(values=[b"4"]))
    assert lambda_producer.values == [b"1", b"3", b"4"]


async def test_a_cancelled_call_does_not_block_the_next(wire: Wire, client: Client, lambda_producer: Bin) -> None:
    await wire.assigned(client, "L1")
    first = await begun(client, lambda_producer, request(values=[b"1"]))
    first.cancel()
    lambda_producer.open.set()
    async with asyncio.timeout(PATIENCE):
        while True:  # the server notices the cancellation a moment later
            answer = await produced(client, request(values=[b"2"]))
            if answer.outcomes[0] != pb.PRODUCE_OUTCOME_BUSY:
                break
    assert lambda_producer.values == [b"1", b"2"]


async def test_a_failed_call_does_not_block_the_next(wire: Wire, client: Client, lambda_producer: Bin) -> None:
    await wire.assigned(client, "L1")
    lambda_producer.failure = ZeroDivisionError()
    await client.refused("Produce", request())
    lambda_producer.failure = FullError()
    assert [*(await produced(client, request())).outcomes] == [pb.PRODUCE_OUTCOME_BUSY]
    lambda_producer.failure = None
    await produced(client, request())


async def test_busy_is_answered_at_once_however_often(
    wire: Wire, client: Client, lambda_producer: Bin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the client's fault, so it is not charged and not logged."""
    await wire.assigned(client, "L1")
    lambda_producer.failure = FullError()
    charged: list[object] = []
    charge = wire.host.refusals.charge

    def counting(who: str, cost: float = 1.0) -> float:
        charged.append(who)
        return charge(who, cost)

    monkeypatch.setattr(wire.host.refusals, "charge", counting)
    for _ in range(100):
        answer = await produced(client, request(values=[b"1", b"2"]))
        assert [*answer.outcomes] == [pb.PRODUCE_OUTCOME_BUSY] * 2
        assert answer.retry_after_ms == producing.BUSY_FULL_MS
        assert answer.errors[1].startswith("too much that this lambda produces")
    assert not charged


async def test_the_status_counts_what_was_produced(wire: Wire, client: Client, lambda_producer: Bin) -> None:
    for script in wire.desks.values():
        script.answers[letters.Inspect] = lambda_status()
    lambda_producer.written = 7
    lambda_producer.failures["no_answer"] = 3
    statuses = (await wire.snapshots.take()).lambdas
    assert (statuses["deli"].produced, statuses["deli"].produce_failures) == (7, {"no_answer": 3})
    assert (statuses["scribe"].produced, statuses["scribe"].produce_failures) == (0, {})
