"""Checkpoints of leases that a rebalance ended: none is accepted, and no committed offset ever moves.

No test checkpoints a living lease before its end, so any committed offset other than the start is a breach. A dead
lease checkpoints the last offset that was delivered to it while it lived.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from sdk_python.protocol import lambda_pb2 as pb
from tests.integration.harness import PATIENCE, Sidecar, Stage
from tests.integration.paused_client import Held, Paused, PausedProcesses

pytestmark = [pytest.mark.kafka, pytest.mark.alone]

COUNT = int(os.environ.get("KAFKA_SIDECAR_STALE", "100"))
"""The number of checkpoints of leases whose partition another sidecar has meanwhile."""
PARTITIONS = 48
RECORDS = 10
"""In each partition."""
KAFKA = {
    "partition.assignment.strategy": "range",
    "heartbeat.interval.ms": 200,
    "session.timeout.ms": 6000,
    "fetch.wait.max.ms": 50,
}


LEAVES = "no lambda process: leaving the group"


class CommittedOffsets:
    """The group's committed offsets, as an admin client reads them."""

    def __init__(self, stage: Stage) -> None:
        self._admin = AdminClient({"bootstrap.servers": stage.broker.address})
        wanted = [TopicPartition(stage.topic, number) for number in range(PARTITIONS)]
        self._request = [ConsumerGroupTopicPartitions(stage.group, wanted)]
        self._group = stage.group
        self.looks = 0

    async def offsets(self) -> dict[int, int]:
        """The committed offsets by partition."""
        asked = self._admin.list_consumer_group_offsets(self._request)[self._group]
        found = await asyncio.wrap_future(asked)
        self.looks += 1
        return {one.partition: one.offset for one in found.topic_partitions or () if one.offset >= 0}

    async def must_be_at_the_start(self, but: Collection[int] = ()) -> None:
        """Check that no committed offset has moved, except in the partitions ``but``."""
        moved = {number: offset for number, offset in (await self.offsets()).items() if offset and number not in but}
        assert not moved, f"committed offsets moved: {moved}"


async def until(what: Callable[[], object], about: str, timeout: float = PATIENCE) -> None:
    """Wait until ``what`` is true, while the paused processes live on."""
    deadline = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {about}"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def paused_processes(paused: Paused, *sidecars: Sidecar) -> AsyncIterator[dict[str, PausedProcesses]]:
    """Some paused processes at each sidecar."""
    all_of_them = {one.label: PausedProcesses(one.label, one.address, paused) for one in sidecars}
    for one in all_of_them.values():
        one.start()
    try:
        yield all_of_them
    finally:
        for one in all_of_them.values():
            await one.close()


class Storm:
    """Members join and leave, so that partitions move all the time."""

    def __init__(self, stage: Stage, sidecars: Sequence[Sidecar], everywhere: dict[str, PausedProcesses]) -> None:
        self._stage = stage
        self._sidecars = sidecars
        self._everywhere = everywhere
        self.blows = 0

    async def blow(self) -> None:
        """Change the group, and change it back."""
        self.blows += 1
        if self.blows % 3:
            await asyncio.to_thread(self._a_member_comes_and_goes)
            return
        leaver = random.choice(self._sidecars)
        left = len(leaver.log(LEAVES))
        await self._everywhere[leaver.label].stop()
        await until(lambda: len(leaver.log(LEAVES)) > left, f"{leaver.label} to leave")
        self._everywhere[leaver.label].start()

    def _a_member_comes_and_goes(self) -> None:
        properties = {"bootstrap.servers": self._stage.broker.address, "group.id": self._stage.group}
        consumer = Consumer({**properties, **KAFKA, "enable.auto.commit": False})
        came: list[object] = []
        consumer.subscribe([self._stage.topic], on_assign=lambda _, partitions: came.append(partitions))
        deadline = time.monotonic() + PATIENCE
        while not came and time.monotonic() < deadline:
            consumer.poll(0.05)
        consumer.close()
        assert came, "the member that comes and goes got nothing"


async def try_dead(everywhere: dict[str, PausedProcesses], dead: list[Held], outcomes: Counter[str]) -> None:
    """Send checkpoints of dead leases to the sidecars that gave them: by call, in Error, and in Closed."""
    calls: dict[str, list[Held]] = {}
    for index, held in enumerate(dead):
        if index % 4 == 0:
            action = random.choice([pb.ERROR_ACTION_RESTART, pb.ERROR_ACTION_CRITICAL, pb.ERROR_ACTION_REPORT])
            outcome = await everywhere[held.sidecar].error(held.lease, held.delivered, action)
            assert outcome == pb.ERROR_OUTCOME_STALE_LEASE, f"{held} was told {outcome}"
            outcomes["error"] += 1
        elif index % 4 == 1:
            # The sidecar has ended most of these streams at their deadline; then Closed goes nowhere.
            await held.say_closed()
            outcomes["closed"] += 1
        else:
            calls.setdefault(held.sidecar, []).append(held)
    for name, some in calls.items():
        told = await everywhere[name].checkpoint([(held.lease, held.delivered) for held in some])
        assert {*told} == {pb.CHECKPOINT_OUTCOME_STALE_LEASE}, f"{some} were told {told}"
        outcomes["checkpoint"] += len(some)


async def living_leases_count(
    everywhere: dict[str, PausedProcesses], paused: Paused, committed: CommittedOffsets
) -> None:
    """The same checkpoint of a living lease is accepted, so the lease made the difference.

    This is done at each sidecar with a living lease. Once it is committed, a commit has been made that would have
    included an earlier checkpoint of a dead lease.
    """
    taken: set[int] = set()
    for name, processes in everywhere.items():
        taken |= await living_lease_counts(name, processes, paused, committed)
    assert taken, "somebody has partitions"
    await committed.must_be_at_the_start(but=taken)


async def living_lease_counts(
    name: str, processes: PausedProcesses, paused: Paused, committed: CommittedOffsets
) -> set[int]:
    """Checkpoint a living lease at this sidecar. Returns its partition, or nothing if there is no such lease."""
    deadline = time.monotonic() + PATIENCE
    while True:
        await until(lambda: all(held.delivered >= 0 for held in paused.holders.values()), "all to have records again")
        held = next((held for held in paused.holders.values() if held.sidecar == name), None)
        if held is None:
            return set()
        told = await processes.checkpoint([(held.lease, held.delivered)])
        if told[0] in {pb.CHECKPOINT_OUTCOME_ACCEPTED, pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING}:
            break
        # The last rebalances of the storm take a moment longer, and may have just ended this lease too.
        assert told == [pb.CHECKPOINT_OUTCOME_STALE_LEASE]
        assert time.monotonic() < deadline, "no lease lives"
    while (await committed.offsets()).get(held.partition) != held.delivered + 1:
        assert time.monotonic() < deadline, "the living lease's checkpoint is not committed"
    return {held.partition}


def start_three(stage: Stage) -> list[Sidecar]:
    """Start three sidecars of one group, with short drains; one without processes leaves the group at once."""
    stage.create_topic(PARTITIONS)
    stage.produce_numbers(PARTITIONS * RECORDS, PARTITIONS)
    options: dict[str, Any] = {"rebalance_drain": "100ms", "leave_group_after": "100ms"}
    started = [stage.sidecar(label=label, kafka=KAFKA, **options) for label in ("a", "b", "c")]
    for one in started:
        one.wait_until_listening()
    return started


@pytest.mark.timeout(300 + 3 * COUNT)
async def test_dead_leases_in_a_rebalance_storm(kafka_stage: Stage) -> None:
    sidecars = start_three(kafka_stage)
    paused, outcomes, committed = Paused(), Counter[str](), CommittedOffsets(kafka_stage)
    began = time.monotonic()
    async with paused_processes(paused, *sidecars) as everywhere:
        await until(lambda: len(paused.holders) == PARTITIONS, "all partitions to be taken")
        storm = Storm(kafka_stage, sidecars, everywhere)
        moved = 0
        while moved < COUNT:
            blow = asyncio.create_task(storm.blow())
            # Meanwhile, so that checkpoints come before, during and after rebalances.
            while not blow.done() or paused.replaced:
                dead, paused.replaced = paused.replaced, []
                await committed.must_be_at_the_start()
                await try_dead(everywhere, [old for old, _ in dead], outcomes)
                moved += sum(old.sidecar != new.sidecar for old, new in dead)
                await asyncio.sleep(0.02)
            await blow
        await committed.must_be_at_the_start()
        took = time.monotonic() - began
        print(
            f"{outcomes.total()} dead leases refused ({dict(outcomes)}), {moved} with their partition at another "
            f"sidecar, {storm.blows} changes of the group, {committed.looks} looks at the offsets, {took:.0f} s"
        )
        await living_leases_count(everywhere, paused, committed)
    assert outcomes.total() >= moved >= COUNT
    assert outcomes["checkpoint"] > 0
    assert outcomes["error"] > 0
    assert outcomes["closed"] > 0


async def test_a_frozen_sidecar_commits_no_dead_checkpoints(kafka_stage: Stage) -> None:
    """It is frozen for longer than its session: it takes its leases for valid until it hears of it from Kafka."""
    stage = kafka_stage
    stage.create_topic(PARTITIONS)
    stage.produce_numbers(PARTITIONS * RECORDS, PARTITIONS)
    kafka = {**KAFKA, "session.timeout.ms": 1000}
    sidecars = [stage.sidecar(label=label, kafka=kafka) for label in ("away", "here")]
    for one in sidecars:
        one.wait_until_listening()
    paused, committed = Paused(), CommittedOffsets(stage)
    async with paused_processes(paused, *sidecars) as everywhere:
        await until(
            lambda: {held.sidecar for held in paused.holders.values()} == {"away", "here"}, "both to have some"
        )
        await until(lambda: all(held.delivered >= 0 for held in paused.holders.values()), "all to have records")
        mine = [held for held in paused.holders.values() if held.sidecar == "away"]
        sidecars[0].signal(signal.SIGSTOP)
        await until(lambda: all(held.sidecar == "here" for held in paused.holders.values()), "the other to have all")
        # 1. The sidecar is frozen: the checkpoints wait in its sockets. Nothing tells when they have arrived there.
        # 2. It wakes and reads them before Kafka tells it that its partitions are lost.
        # Should they arrive later, the sidecar may know of the loss, and gives another of the answers below.
        said = asyncio.create_task(everywhere["away"].checkpoint([(held.lease, held.delivered) for held in mine]))
        await asyncio.sleep(0.1)
        sidecars[0].signal(signal.SIGCONT)
        outcomes = Counter(await said)
        for held in mine:
            await held.say_closed()
        assert {*outcomes} <= {
            pb.CHECKPOINT_OUTCOME_ACCEPTED,
            pb.CHECKPOINT_OUTCOME_ACCEPTED_DRAINING,
            pb.CHECKPOINT_OUTCOME_STALE_LEASE,
        }
        # It hears of the loss, and joins again.
        sidecars[0].wait_for_log("partitions lost")
        await until(lambda: any(held.sidecar == "away" for held in paused.holders.values()), "it to have some again")
        await committed.must_be_at_the_start()
        told = await everywhere["away"].checkpoint([(held.lease, held.delivered) for held in mine])
        assert {*told} == {pb.CHECKPOINT_OUTCOME_STALE_LEASE}
        await living_leases_count(everywhere, paused, committed)
        print(f"woken with {outcomes}")
