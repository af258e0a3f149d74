"""The snapshot: what the consumer threads and the event loop know together, and the message that carries it."""

import asyncio
import os
import socket
import time
from typing import Any

import pytest

from sdk_python.protocol import admin_pb2, lambda_pb2 as pb
from sidecar.config.model import Config
from sidecar.mail import letters
from sidecar.partitions.vocabulary import FailureKind, LastFailure, RebalanceKind, State, TopicPartition, WaitsFor
from sidecar.server.snapshots import hash_of
from sidecar.server.status_message import status_response
from sidecar.status import (
    ExitStatus,
    LambdaStatus,
    PartitionStatus,
    Problem,
    ProcessStatus,
    RebalanceStatus,
    SidecarStatus,
    SupervisedStatus,
)
from sidecar.version import VERSION
from tests.unit.snapshots import lambda_status, sidecar_status

from .bench import PATIENCE
from .server_lab import Lab

EVERYTHING = PartitionStatus(
    tp=TopicPartition("raw", 3),
    lane=2,
    lanes=8,
    state=State.HALTED,
    process_id="p1",
    delivered=9,
    handled=6,
    checkpoint=7,
    committed=8,
    end=20,
    outstanding=4,
    waiting=5,
    attempt=2,
    reason="too bad",
    failing_offset=8,
    blocked_since=1.0,
    stalled_since=2.0,
    resumes_at=3.0,
    skipped=6,
    skipping=("t/a",),
    skipping_count=3,
    state_since=4.0,
    lease_since=5.0,
    oldest_outstanding=6.0,
    outstanding_bytes=700,
    waiting_bytes=800,
    sent_per_second=9.5,
    done_per_second=8.5,
    last_failure=LastFailure(FailureKind.BROKE, "the stream broke", 8, 7.0),
    waits_for=WaitsFor.RESUME,
    next_retry=8.0,
    progress_at=9.0,
    handled_at=10.0,
    progress="43 %",
    overdue_at=11.0,
    state_bytes=12,
)


async def taken(lab: Lab, **statuses: LambdaStatus) -> SidecarStatus:
    """A snapshot; the consumer threads answer with these, or with nothing of interest."""
    snapshot = asyncio.ensure_future(lab.snapshots.take())
    for name, desk in lab.desks.items():
        desk.answer(await desk.expect(letters.Inspect), statuses.get(name, lambda_status()))
    return await snapshot


async def test_the_loop_adds_what_it_knows_of_the_processes(lab: Lab) -> None:
    client = pb.Client(name="sdk", version="1", language="go")
    before = time.monotonic()
    await lab.spare(process_id="p1", instance="pod-1", pid=17, client=client, lambda_version="7.1")
    await lab.spare("scribe", process_id="p1")
    processes = [ProcessStatus("p1", 2, True), ProcessStatus("gone", 1, False)]
    status = await taken(lab, deli=lambda_status(processes=processes))
    known, gone = status.lambdas["deli"].processes
    assert (known.instance, known.pid, known.client, known.lambda_version) == ("pod-1", 17, "sdk 1 go", "7.1")
    assert known.peer
    assert known.connected_since is not None
    assert known.last_seen is not None
    assert before <= known.connected_since <= known.last_seen <= status.taken_at
    assert gone == ProcessStatus("gone", 1, False, instance="gone")


async def test_a_call_and_a_frame_show_that_a_process_lives(lab: Lab) -> None:
    stream = await lab.running(lease="d1", process_id="p1")

    async def seen() -> float:
        status = await taken(lab, deli=lambda_status(processes=[ProcessStatus("p1", 1, False)]))
        (process,) = status.lambdas["deli"].processes
        assert process.last_seen is not None
        return process.last_seen

    at_first = await seen()
    request = pb.CheckpointRequest(entries=[pb.CheckpointEntry(lease="d1", offset=5)])
    call = asyncio.ensure_future(lab.calls.Checkpoint(request, timeout=PATIENCE))
    await lab.deli.expect(letters.Checkpoints)
    after_the_call = await seen()
    assert after_the_call > at_first
    await stream.send(pb.LambdaFrame(pause=pb.Pause(number=1)))
    await lab.deli.expect(letters.PauseLease)
    assert await seen() > after_the_call
    call.cancel()


async def test_the_status_call_answers_with_the_snapshot(lab: Lab) -> None:
    answer = asyncio.ensure_future(lab.admin.Status(admin_pb2.StatusRequest(), timeout=PATIENCE))
    for desk in lab.desks.values():
        desk.answer(await desk.expect(letters.Inspect), lambda_status(group="g"))
    shown = await answer
    assert (shown.version, shown.bootstrap_servers) == (VERSION, "broker:9092")
    assert (shown.host, shown.pid) == (socket.gethostname(), os.getpid())
    assert [(one.name, one.group) for one in shown.lambdas] == [("deli", "g"), ("scribe", "g")]
    assert abs(shown.now_ms / 1000 - time.time()) < PATIENCE
    assert shown.started_at_ms <= shown.now_ms
    assert shown.memory_bytes > 1_000_000


# --- the message --------------------------------------------------------------------------------------------------


def message(status: SidecarStatus) -> dict[str, Any]:
    """The answer's fields that are set, by name."""
    response = status_response(status)
    assert response.lambdas
    return {field.name: value for field, value in response.ListFields()}


def test_every_field_of_a_partition_is_carried() -> None:
    deli = lambda_status(partitions=[EVERYTHING])
    (partition,) = status_response(sidecar_status({"deli": deli}, wall_clock=1000.0)).lambdas[0].partitions
    left_out = {field.name for field in partition.DESCRIPTOR.fields} - {
        field.name for field, _ in partition.ListFields()
    }
    assert left_out == set()
    assert (partition.lane, partition.lanes) == (2, 8)
    assert (partition.topic, partition.partition, partition.state) == ("raw", 3, admin_pb2.PARTITION_STATE_HALTED)
    assert (partition.blocked_since_ms, partition.stalled_since_ms, partition.resumes_at_ms) == (
        1_001_000,
        1_002_000,
        1_003_000,
    )
    assert (partition.state_since_ms, partition.lease_since_ms) == (1_004_000, 1_005_000)
    assert (partition.oldest_outstanding_ms, partition.next_retry_at_ms) == (1_006_000, 1_008_000)
    assert (partition.progress_at_ms, partition.handled_at_ms) == (1_009_000, 1_010_000)
    assert (partition.outstanding_bytes, partition.waiting_bytes) == (700, 800)
    assert (partition.sent_per_second, partition.done_per_second) == (9.5, 8.5)
    assert partition.waits_for == admin_pb2.WAITS_FOR_RESUME
    assert partition.last_error == admin_pb2.Failure(
        at_ms=1_007_000, text="the stream broke", offset=8, kind=admin_pb2.FAILURE_KIND_BROKE
    )
    assert (partition.skipped_records, [*partition.skipping], partition.skipping_count) == (6, ["t/a"], 3)


def test_what_is_unknown_is_absent() -> None:
    unknown = PartitionStatus(
        tp=TopicPartition("raw", 0),
        state=State.RESOLVING,
        process_id="",
        delivered=None,
        handled=None,
        checkpoint=None,
        committed=None,
        end=None,
        outstanding=0,
        waiting=0,
        attempt=1,
        reason="",
        failing_offset=None,
        blocked_since=None,
        stalled_since=None,
        resumes_at=None,
        waits_for=WaitsFor.OFFSET,
        state_since=1.0,
    )
    (partition,) = status_response(sidecar_status({"d": lambda_status(partitions=[unknown])})).lambdas[0].partitions
    shown = {field.name for field, _ in partition.ListFields()}
    assert shown == {"topic", "state", "attempt", "waits_for", "state_since_ms"}


def test_every_field_of_a_lambda_and_of_the_sidecar_is_carried() -> None:
    process = ProcessStatus("p1", 2, True, "pod-1", 17, "sdk 1 go", "7.1", "ipv4:1.2.3.4:5", 1.0, 2.0)
    supervised = SupervisedStatus(1, "python", 18, 3.0, 4, 2, 5.0, (ExitStatus(6.0, "ended", 1.5, "no database"),))
    deli = lambda_status(
        connected=True,
        joined=True,
        problems=[Problem("connection", "no broker", 1.0)],
        records_sent=9,
        records_fetched=12,
        restarts={FailureKind.BROKE: 1},
        dead_letters=2,
        hand_overs=3,
        reports=4,
        skipped=5,
        produced=6,
        produce_failures={"full": 3, "other": 4},
        processes=[process],
        partitions=[EVERYTHING, EVERYTHING],
        group="g",
        topics=("raw",),
        bytes_sent=8,
        last_rebalance=RebalanceStatus(RebalanceKind.LOST, 3, 4.0, "away"),
        rebalances={RebalanceKind.LOST: 1, RebalanceKind.ASSIGNED: 2},
        supervised=(supervised,),
        topic_sizes=(("raw", 3),),
        lanes=8,
        exactly_once=True,
        transactions_committed=7,
        transactions_aborted=1,
    )
    fields = message(sidecar_status({"deli": deli}, memory_bytes=1, draining=True, started_at=1.0))
    assert {*fields} == {field.name for field in admin_pb2.StatusResponse.DESCRIPTOR.fields}
    (one,) = fields["lambdas"]
    assert {field.name for field, _ in one.ListFields()} == {field.name for field in one.DESCRIPTOR.fields}
    assert one.rebalances == 3
    assert [*one.topic_sizes] == [admin_pb2.TopicSize(topic="raw", partitions=3)]
    assert one.last_rebalance == admin_pb2.Rebalance(
        at_ms=4000, kind=admin_pb2.REBALANCE_KIND_LOST, partitions=3, reason="away"
    )
    (shown,) = one.processes
    assert (shown.peer, shown.connected_since_ms, shown.last_seen_ms) == ("ipv4:1.2.3.4:5", 1000, 2000)
    assert (shown.sent_per_second, shown.done_per_second) == (19.0, 17.0)  # of its two partitions
    (kept,) = one.supervised
    assert {field.name for field, _ in kept.ListFields()} == {field.name for field in kept.DESCRIPTOR.fields}
    assert [*kept.last_exits] == [admin_pb2.Exit(at_ms=6000, how="ended", ran_ms=1500, last_line="no database")]


# --- the config's hash --------------------------------------------------------------------------------------------


def config(**changes: Any) -> Config:
    one = {"topic": "raw", "group": "g", "settings": {"depth": 3}}
    given: dict[str, Any] = {"kafka": {"bootstrap.servers": "b:9092"}, "lambdas": {"deli": {**one, **changes}}}
    return Config.model_validate(given)


def test_the_hash_tells_configs_apart_and_keeps_secrets_out() -> None:
    assert hash_of(config()) == hash_of(config())
    assert len(hash_of(config())) == 12
    assert hash_of(config(settings={"depth": 4})) != hash_of(config())
    with_secrets = [hash_of(config(settings={"db_password": word})) for word in ("one", "two")]
    assert with_secrets[0] == with_secrets[1]


@pytest.mark.parametrize("lambdas", [{}, {"deli": lambda_status(), "scribe": lambda_status()}])
def test_a_sidecar_shows_each_of_its_lambdas(lambdas: dict[str, LambdaStatus]) -> None:
    assert [one.name for one in status_response(sidecar_status(lambdas)).lambdas] == [*lambdas]
