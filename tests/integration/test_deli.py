"""deli end to end: records go through Kafka, the sidecar and a deli process and become sequenced operations."""

from __future__ import annotations

import random
from datetime import datetime
from functools import partial
from itertools import pairwise

import pytest

from tests.integration.deli import DeliStage, boxcar, check_numbers, cleanup_policy, join, operation, recorded
from tests.integration.harness import Program, Stage, wait_for
from tests.recorded import all_documents
from tests.servers.topics import create_topic, delete_topic, partition_count

FILES = all_documents()
KILLS = 20
LOGGED = 0.1
"""Seconds by which the time in a log line may be late."""
SHORT_SESSION = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}
"""With it the group soon notices a killed sidecar."""
AS_RECORDED = {
    "clientTimeout": 10**13,
    "noOpConsolidationTimeout": 10**8,
    "activityTimeout": 10**8,
    "disableNoClientMessage": True,
}
"""Without the sequencer's own messages, which would get numbers between the recorded operations: the recorded clients
were last active years ago, the records come at other intervals, and the old messages are among them."""


def enough(deli: DeliStage, wanted: dict[str, list[dict[str, object]]]) -> bool:
    """Whether each document has all its numbers, possibly repeated."""
    made = deli.operations()
    return all(
        {op["sequenceNumber"] for op in operations} <= {op["sequenceNumber"] for op in made.get(document, [])}
        for document, operations in wanted.items()
    )


def number_of_operations(deli: DeliStage) -> int:
    """The number of operations, including repeated ones."""
    return sum(map(len, deli.operations().values()))


def reached(deli: DeliStage, goal: int) -> bool:
    """Whether there are at least ``goal`` operations."""
    return number_of_operations(deli) >= goal


def at_rest(process: Program) -> bool:
    """Whether all documents that the process had open are closed."""
    return len(process.log("opened")) == len(process.log("closed"))


def _moments(process: Program, text: str) -> list[float]:
    """The times at which the process logged ``text``, in seconds."""
    lines = process.text().splitlines()
    # Without its zone: only differences matter.
    return [datetime.fromisoformat(line[:23]).timestamp() for line in lines if text in line]


def test_recorded_documents(stage: Stage) -> None:
    records, wanted = recorded(FILES)
    deli = DeliStage(stage, settings={"sequencer": AS_RECORDED})
    process = deli.process()
    deli.feed(records)
    wait_for(lambda: enough(deli, wanted), "all numbers")
    assert process.terminate() == 0
    assert check_numbers(deli.operations(), wanted, again=False) == 0
    assert partition_count(stage.broker.address, deli.state) == 2


@pytest.mark.kafka
def test_recorded_documents_and_kills(kafka_stage: Stage) -> None:
    """The process is killed repeatedly while records arrive: the same numbers, with the same content.

    Every second process saves its states so rarely that it never does: its operations are numbered again. The others
    are killed once each partition has progressed. As long as no process progresses with a partition, the sidecar
    assigns it later and later, up to half a minute.
    """
    records, wanted = recorded(FILES)
    deli = DeliStage(kafka_stage, window={"messages": 100}, settings={"sequencer": AS_RECORDED})
    rng = random.Random(5)
    pieces = [len(records) * number // (KILLS + 1) for number in range(KILLS + 2)]
    for number, (first, after) in enumerate(pairwise(pieces)):
        seldom = {"checkpointHeuristics": {"enable": True}} if number % 2 and number < KILLS else {}
        process = deli.process(f"deli-{number}", sequencer={**AS_RECORDED, **seldom})
        goal = deli.written() + rng.randrange(1, 10)
        with deli.trickle(records[first:after], 0.005):
            if number < KILLS:
                # Late writes of the process before do not count: this one must be working.
                wait_for(lambda: "states of" in process.text(), process.text)  # noqa: B023
                wait_for(lambda: deli.written() >= goal, f"{goal} operations")  # noqa: B023
                if not seldom:
                    wait_for(deli.has_got_on, lambda: f"each partition to get on: {deli.sidecar.status()}")
                process.kill()
    wait_for(lambda: enough(deli, wanted), "all numbers")
    repeated = check_numbers(deli.operations(), wanted, again=True)
    assert repeated >= KILLS / 2, "each kill of one that saves seldom has numbers given again"


def test_a_quiet_document_and_five_hundred_records_of_others(stage: Stage) -> None:
    """deli withholds the checkpoint of a document with clients until its next record, which comes much later.

    The window has 100 records: records that are done after the checkpoint do not fill it.
    """
    deli = DeliStage(stage, partitions=1, window={"messages": 100}, settings={"sequencer": AS_RECORDED})
    deli.process()
    records = [("quiet", boxcar("quiet", join("q"))), ("busy", boxcar("busy", join("b")))]
    records += [("busy", boxcar("busy", operation("b", number))) for number in range(1, 500)]
    deli.feed([*records, ("quiet", boxcar("quiet", operation("q", 1)))])
    wait_for(lambda: len(deli.operations().get("quiet", [])) == 2, "the quiet document's second record")
    made = deli.operations()
    assert [op["sequenceNumber"] for op in made["quiet"]] == [1, 2]
    assert [op["sequenceNumber"] for op in made["busy"]] == [*range(1, 501)]
    # Both documents have clients, so each withholds one record: the lower one determines the commit.
    wait_for(lambda: stage.committed() == {0: 500}, lambda: f"{stage.committed()}")


@pytest.mark.kafka
def test_two_sidecars_and_each_way_to_leave(kafka_stage: Stage) -> None:
    """Under traffic: a second sidecar joins with its deli, a deli stops in order, a sidecar dies and restarts."""
    records, wanted = recorded(FILES)
    # The recorded documents are spread over two partitions: both processes have work.
    deli = DeliStage(kafka_stage, partitions=2, window={"messages": 100}, settings={"sequencer": AS_RECORDED})
    deli.options["kafka"] = SHORT_SESSION
    process = deli.process("deli-1")
    pieces = iter(records[len(records) * n // 5 : len(records) * (n + 1) // 5] for n in range(5))
    deli.feed(next(pieces))
    wait_for(partial(reached, deli, 20), "some operations")

    second = deli.start("sidecar-2")
    other = deli.process("deli-2", second)
    deli.feed(next(pieces))
    wait_for(lambda: len(second.partitions()) == 1, "a partition each")
    deli.feed(next(pieces))
    wait_for(lambda: "states of" in other.text(), other.text)

    assert process.terminate() == 0
    process = deli.process("deli-1-again")
    deli.feed(next(pieces))
    wait_for(lambda: "states of" in process.text(), process.text)

    second.kill()
    second = deli.start("sidecar-2")
    deli.feed(next(pieces))
    wait_for(lambda: enough(deli, wanted), "all numbers")
    check_numbers(deli.operations(), wanted, again=True)
    assert process.terminate() == 0
    assert other.terminate() == 0


@pytest.mark.kafka
def test_the_topic_of_the_states(kafka_stage: Stage) -> None:
    """It is created compacted; settings that would delete states are refused by name; so is its loss."""
    broker = kafka_stage.broker.address
    deli = DeliStage(kafka_stage, partitions=3)
    create_topic(broker, deli.state, 3, {"cleanup.policy": "delete"})
    process = deli.process("deli-1")
    deli.feed([("d", boxcar("d", join("a")))])
    refusal = f"state: the topic {deli.state} has cleanup.policy=delete"
    wait_for(lambda: refusal in deli.sidecar.text(), "the refusal in the sidecar's log")
    tries = partial(_moments, process, f"its lambda is made again: {refusal}")
    wait_for(lambda: len(tries()) >= 4, process.text)
    first, second, third, fourth = tries()[:4]
    # The pauses double from half a second on; jitter makes each shorter, by half at most.
    assert third - second >= 0.5 * 1.0 - LOGGED
    assert fourth - first >= 0.5 * 3.5 - LOGGED, "tried again and again"
    delete_topic(broker, deli.state)

    wait_for(lambda: len(deli.operations().get("d", [])) == 1, "a number, with a topic that deli made")
    assert partition_count(broker, deli.state) == 3
    assert cleanup_policy(broker, deli.state) == "compact"
    assert process.terminate() == 0

    delete_topic(broker, deli.state)
    process = deli.process("deli-2")
    deli.feed([("d", boxcar("d", operation("a", 1)))])
    wait_for(lambda: "the states are lost" in process.text(), process.text)
    assert len(deli.operations()["d"]) == 1


def test_idle_documents_that_were_closed_go_on(stage: Stage) -> None:
    """Documents that are closed when idle and opened again, also in the next process, use their stored states."""
    router = {"activity_timeout": "300ms", "activity_check_interval": "50ms"}
    deli = DeliStage(stage, settings={"document_router": router, "document_lambda": "tests.integration.deli"})
    documents = [f"d{number}" for number in range(10)]
    wanted = 0
    for label in ("first", "second"):
        process = deli.process(label)
        for client in (f"{label}-a", f"{label}-b"):
            gone = {
                **join(client),
                "operation": {**join(client)["operation"], "type": "leave", "data": f'"{client}"'},
            }
            entries = [join(client), operation(client, 1, -1), gone]
            deli.feed((document, boxcar(document, *entries)) for document in documents)
            wanted += 4 * len(documents)  # with the noClient that deli sends itself
            wait_for(partial(reached, deli, wanted), f"{wanted} operations")
            wait_for(partial(at_rest, process), process.text)
        assert len(process.log("opened")) >= 2 * len(documents), "each document once for each client"
        assert process.terminate() == 0
    for operations in deli.operations().values():
        assert [op["sequenceNumber"] for op in operations] == [*range(1, 17)]
