"""Peers that hang are noticed within 15 s and others take over; a slow handler is not taken for a hang."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from typing import Any

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration import checks
from tests.integration.hand_client import HandClient, hand_client
from tests.integration.harness import PATIENCE, Sidecar, Stage, Traffic, wait_for
from tests.integration.proxy import Proxy
from tests.servers import topics

PARTITIONS = 8
EVERY = 0.05
NOTICED = 15.0
"""Seconds within which a hanging peer is noticed."""
LATE = PATIENCE
"""Seconds that a test waits for that: an assertion on the time says more than a timeout."""


class CommitWatch:
    """Checks in a thread of its own that the committed offsets never go back. A context manager."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commit watch")
        self.back: list[str] = []
        self.looks = 0

    def __enter__(self) -> CommitWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        before: dict[int, int] = {}
        while not self._over.wait(0.1):
            now = self._stage.committed()
            self.looks += 1
            self.back += [
                f"{number}: {now.get(number)} after {old}"
                for number, old in before.items()
                if now.get(number, -1) < old
            ]
            before = now


def free_address() -> str:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def tcp_sidecar(stage: Stage, **options: Any) -> Sidecar:
    """A sidecar that listens on TCP, for a proxy."""
    config = stage.config(**options)
    config["server"]["listen"] = free_address()
    sidecar = stage.sidecar(config)
    sidecar.wait_until_listening()
    return sidecar


def holdings(stage: Stage, *processes: str) -> dict[str, set[int]]:
    """The partitions whose latest lambda is in each process."""
    latest = {event.partition: event.process for event in stage.history.events("created")}
    return {name: {number for number, holder in latest.items() if holder == name} for name in processes}


def spares(sidecar: Sidecar) -> int:
    """The number of processes that could take another partition."""
    return sum(process.spare for process in sidecar.lambda_status().processes)


def handled_since(stage: Stage, process: str, since: float) -> dict[int, float]:
    """The times at which the process handled its first message of each partition after ``since``."""
    events = [event for event in stage.history.handled(process) if event.at > since]
    return {event.partition: event.at for event in reversed(events)}


def take_one(client: HandClient) -> tuple[int, int]:
    """Take a partition and its first batch. Returns the partition's number and the last offset."""
    partition = client.take().partition
    batch: pb.Batch = client.hear("batch")
    return partition, batch.first_offset + len(batch.values) - 1


@pytest.mark.alone
def test_a_stopped_process_behind_a_unix_socket_under_load(embedded_stage: Stage) -> None:
    """Many small frames fill the socket before HTTP/2's window, so gRPC's own pings wait in the queue for ever."""
    stage = embedded_stage
    stage.create_topic(PARTITIONS)
    stage.produce_numbers(PARTITIONS, PARTITIONS)
    sidecar = stage.sidecar()
    stopped = stage.process(sidecar, "stopped")
    stage.wait_until_handled()
    stage.process(sidecar, "healthy")
    wait_for(lambda: spares(sidecar) == 2, "both to be available")
    with Traffic(stage, PARTITIONS, 0.004):
        held = holdings(stage, "stopped")["stopped"]
        hangs = time.monotonic()
        stopped.signal(signal.SIGSTOP)
        wait_for(
            lambda: held <= {*handled_since(stage, "healthy", hangs)},
            lambda: f"the healthy one to handle {held}: {handled_since(stage, 'healthy', hangs)}",
            LATE,
        )
        took = max(handled_since(stage, "healthy", hangs)[number] for number in held) - hangs
        assert took < NOTICED, f"noticed and taken over after {took:.1f} s"
        stopped.signal(signal.SIGCONT)
        wait_for(lambda: spares(sidecar) == 2, "it to offer again", LATE)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    _check_history(stage, {"stopped"})


@pytest.mark.alone
def test_a_stopped_process_and_a_cut_connection(embedded_stage: Stage) -> None:
    stage = embedded_stage
    sidecar = tcp_sidecar(stage)
    with Proxy(sidecar.address) as proxy, hand_client(proxy.address) as hand, CommitWatch(stage) as watch:
        healthy = stage.process(sidecar, "healthy")
        stopped = stage.process(sidecar, "stopped", handler_takes=0.02)
        stage.process(proxy.address, "behind", handler_takes=0.02)
        hand.offer("echo", instance="by hand")
        wait_for(lambda: len(sidecar.lambda_status().processes) == 4, "all to be available")
        # The topic is created only now, so that each process gets its share.
        stage.create_topic(PARTITIONS)
        stage.produce_numbers(PARTITIONS, PARTITIONS)
        by_hand, delivered = take_one(hand)
        with Traffic(stage, PARTITIONS, EVERY):
            held = _wait_until_held(stage, "healthy", "stopped", "behind")
            orphans = held["stopped"] | held["behind"] | {by_hand}
            hangs = time.monotonic()
            stopped.signal(signal.SIGSTOP)
            proxy.cut()
            wait_for(
                lambda: orphans <= {*handled_since(stage, "healthy", hangs)},
                lambda: f"the healthy one to handle {orphans}: {handled_since(stage, 'healthy', hangs)}",
                LATE,
            )
            first = handled_since(stage, "healthy", hangs)
            took = max(first[number] for number in orphans) - hangs
            assert took < NOTICED, f"noticed and taken over after {took:.1f} s"
            _check_the_old_lease_is_dead(stage, sidecar, hand.lease, by_hand, delivered)
            hand.close(pb.CLOSED_REASON_REVOKED, delivered)
            wakes = time.monotonic()
            stopped.signal(signal.SIGCONT)
            proxy.mend()
            # They notice by themselves and offer again; when the other process ends, they get all partitions.
            wait_for(lambda: spares(sidecar) == 3, "all three to offer", LATE)
            assert healthy.terminate() == 0
            for name in ("stopped", "behind"):
                wait_for(lambda name=name: handled_since(stage, name, wakes), f"{name} to serve again")  # type: ignore[misc]
        stage.wait_until_handled()
        stage.wait_until_caught_up()
    assert watch.looks > 10
    assert not watch.back, f"committed offsets went back: {watch.back}"
    _check_history(stage, {"stopped", "behind"})
    assert len(sidecar.log("partitions assigned")) == 1, "the group has not noticed"


def _wait_until_held(stage: Stage, *processes: str) -> dict[str, set[int]]:
    wait_for(
        lambda: (
            all(holdings(stage, *processes).values())
            and len({e.partition for e in stage.history.handled()}) == PARTITIONS - 1
        ),
        lambda: f"each to have some: {holdings(stage, *processes)}",
    )
    return holdings(stage, *processes)


def _check_the_old_lease_is_dead(stage: Stage, sidecar: Sidecar, lease: str, partition: int, offset: int) -> None:
    """The new owner is far ahead: accepting this checkpoint would move the committed offset back."""
    wait_for(lambda: stage.committed().get(partition, 0) > offset + 2, "the new owner's commit")
    with hand_client(sidecar.address) as other:
        assert other.checkpoint(offset, lease).outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE
        assert other.checkpoint(offset + 1, lease).outcome == pb.CHECKPOINT_OUTCOME_STALE_LEASE
    assert stage.committed()[partition] > offset + 2


def _check_history(stage: Stage, hung: set[str]) -> None:
    """Records are handled at least once, in order within each lease, and from a checkpoint on.

    A thawed process may find an assignment in its socket that was revoked meanwhile: it creates a lambda and then
    learns that the stream has ended. That lambda handles nothing; no fencing could prevent its creation.
    """
    events = stage.history.events()
    checks.all_handled(stage.produced, events)
    checks.gapless_leases(stage.produced, events)
    at_work = {event.lease for event in events if event.kind == "handled"}
    checks.leases_go_on([e for e in events if e.process not in hung or e.lease in at_work], killed=hung)


@pytest.mark.alone
def test_a_sidecar_that_hangs(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic(2)
    stage.produce_numbers(4000, 2)
    sidecar = stage.sidecar()
    # Enough messages for longer than the sidecar hangs.
    process = stage.process(sidecar, handler_takes=0.02)
    stage.wait_until_handled(50)
    hangs = time.monotonic()
    sidecar.signal(signal.SIGSTOP)
    wait_for(lambda: len(stage.history.events("closed")) == 2, "both lambdas to close", LATE)
    closed = stage.history.events("closed")
    assert closed[-1].at - hangs < NOTICED, f"noticed after {closed[-1].at - hangs:.1f} s"
    assert {event.reason for event in closed} == {"error"}
    assert all(event.at > hangs + 3.0 for event in closed), "a short pause is no reason"
    again = time.monotonic() + 1.0
    wait_for(lambda: time.monotonic() > again, "a second in which nothing is handled")
    assert stage.history.handled()[-1].at <= closed[-1].at, "its handlers have stopped"
    sidecar.signal(signal.SIGCONT)
    wait_for(lambda: {*handled_since(stage, "p1", again)} == {0, 1}, "both partitions to go on", LATE)
    assert process.running()
    # The rest would take long; only the offset from which it goes on matters.
    assert process.terminate() == 0
    events = stage.history.events()
    checks.gapless_leases(stage.produced, events)
    checks.leases_go_on(events)
    # Records that were handled after the last received checkpoint are handled again.
    done = {number: stage.history.handled(partition=number)[-1].offset + 1 for number in range(2)}
    wait_for(lambda: stage.committed() == done, lambda: f"{done} committed: {stage.committed()}")


def test_a_slow_handler_is_not_taken_for_a_hang(embedded_stage: Stage) -> None:
    """It takes longer than the 10 s after which a peer that answers no ping counts as dead."""
    stage = embedded_stage
    sidecar = stage.sidecar()
    for how in ("await", "block"):
        stage.process(sidecar, how, module="slow", slow_offset=4, slow_for=17.0, slow_how=how)
    wait_for(lambda: spares(sidecar) == 2, "both to offer")
    stage.create_topic(2)  # only now: one for each
    stage.produce_numbers(20, 2)
    wait_for(lambda: len(stage.history.handled()) == 10, lambda: f"{len(stage.history.handled())} of 10")
    stage.wait_until_handled(timeout=LATE)
    stage.wait_until_caught_up()
    events = stage.history.events()
    checks.all_handled_once(stage.produced, events)
    created = stage.history.events("created")
    assert sorted(event.process for event in created) == ["await", "block"]
    for number in range(2):
        assert checks.longest_gap(stage.history.handled(partition=number)) >= 17.0
    assert sidecar.lambda_status().restarts == 0


@pytest.mark.alone
def test_a_stall_is_reported_and_ends_with_a_checkpoint(embedded_stage: Stage) -> None:
    stage = embedded_stage
    stage.create_topic(2)
    stage.produce_numbers(20, 2)
    sidecar = stage.sidecar(stall_after="2s")
    # Seven of ten are checkpointed in each.
    process = stage.process(sidecar, every=7)
    line = sidecar.wait_for_log("partition is stalled", count=2)
    stalled = {entry["partition"] for entry in sidecar.log("partition is stalled")}
    assert stalled == {0, 1}
    assert (line["outstanding"], line["checkpoint"], line["level"]) == (3, 6, "warning")
    assert 2 <= line["seconds"] < 10
    shown = json.loads(sidecar.cli("status", "--json").stdout)["lambdas"][0]["partitions"]
    for one in shown:
        assert one["stalled_since_ms"] <= time.time() * 1000 - 2000, "since the last progress"
        assert one["state"] == "PARTITION_STATE_RUNNING"
    text = sidecar.cli("status").stdout
    assert "no checkpoint for" in text
    assert "3 unacknowledged" in text
    # Four more in one of them: the next checkpoint, and nothing is left.
    stage.produce([topics.Record(value=b"more", partition=0)] * 4)
    wait_for(lambda: not sidecar.partitions()[0].HasField("stalled_since_ms"), "the first to go on")
    assert sidecar.partitions()[1].HasField("stalled_since_ms"), "the other stalls as before"
    wait_for(lambda: stage.committed().get(0) == 14, lambda: f"{stage.committed()}")
    assert process.running()
    assert len(sidecar.log("partition is stalled")) == 2, "told once each"
    assert len(stage.history.events("created")) == 2
    assert sidecar.lambda_status().restarts == 0
    stage.wait_until_handled()
    checks.all_handled_once(stage.produced, stage.history.events())
