"""What is told together, in which order, and what is not said."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sdk_python.protocol import admin_pb2 as pb
from sidecar.causes import Cause
from sidecar.explain import Place, Urgency, explain
from tests.unit.explain.scenes import (
    BACKING_OFF,
    HALTED,
    MINUTE,
    NOW,
    PAUSED,
    RESOLVING,
    SCENES,
    SECOND,
    STARTING,
    WAITING,
    ago,
    crashing,
    failure,
    lambda_,
    one,
    partition,
    process,
    status,
    unheld,
)


def causes(answer: pb.StatusResponse) -> list[tuple[Cause, Urgency]]:
    """The causes and urgencies of all findings."""
    return [(finding.cause, finding.urgency) for finding in explain(answer)]


# --- together -------------------------------------------------------------------------------------------------------


def test_partitions_with_one_cause_are_one_finding() -> None:
    numbers = (2, 5, 6)
    found = explain(
        status(
            lambda_(
                *(
                    unheld(
                        n,
                        state=HALTED,
                        reason=f"ValueError: bad {n}",
                        failing_offset=n,
                        state_since_ms=ago(n * MINUTE),
                    )
                    for n in numbers
                ),
                unheld(9, state=HALTED, reason="KeyError: 'id'", state_since_ms=ago(MINUTE)),
            )
        )
    )
    [together, other] = found
    assert together.places == tuple(Place("orders", n) for n in numbers)
    assert (together.topic, together.partition, together.lambda_name) == ("orders", None, "billing")
    assert together.text.startswith(
        "3 partitions of orders (2, 5-6) have been halted, the first of them since 14:05:11 UTC (6 minutes). "
        "The first of them is orders/6 at offset 6: ValueError: bad 6."
    )
    assert "`kafka-sidecar resume billing/orders/6`" in together.text
    assert (other.partition, other.topic) == (9, "orders")


def test_partitions_of_several_topics_and_a_cause_that_lambdas_share() -> None:
    waiting = [unheld(0, topic=name, state=WAITING, state_since_ms=ago(MINUTE)) for name in "abcdefgh"]
    [finding] = explain(status(lambda_(*waiting, processes=[])))
    assert finding.text.startswith("8 partitions of a, b, c and 5 other topics have waited for a lambda process")
    away = pb.Problem(kind="connection", cause="kafka-away", text="no broker", blocks=True, since_ms=ago(MINUTE))
    lambdas = [lambda_(name=name, problems=[away], connected=False) for name in ("a", "b", "c", "d")]
    [finding] = explain(status(*lambdas))
    assert finding.lambda_names == ("a", "b", "c", "d")
    assert finding.lambda_name == ""
    assert finding.text.startswith("a, b, c and d get nothing: no broker.")


def test_refused_commits_of_many_partitions_are_one_finding() -> None:
    problems = [
        pb.Problem(kind=f"commit:orders/{n}", cause="not-authorised", text=f"Kafka refuses commits of orders/{n}")
        for n in range(4)
    ]
    [finding, _] = explain(status(lambda_(*map(partition, range(4)), problems=problems)))
    assert finding.places == tuple(Place("orders", n) for n in range(4))
    assert "It concerns 4 partitions of orders (0-3)." in finding.text


# --- the order ------------------------------------------------------------------------------------------------------


def test_the_most_urgent_comes_first() -> None:
    found = explain(
        status(
            lambda_(
                partition(0),
                unheld(1, state=RESOLVING, state_since_ms=ago(SECOND)),
                unheld(2, state=PAUSED, reason="upgrade"),
                unheld(3, state=HALTED, reason="ValueError"),
            )
        )
    )
    assert [finding.urgency for finding in found] == sorted(Urgency, reverse=True)
    assert [finding.partition for finding in found] == [3, 2, 1, 0]


def test_a_cause_of_everything_comes_before_one_partition() -> None:
    refused = pb.Problem(kind="group", cause="group-refused", text="refused", blocks=True, since_ms=ago(MINUTE))
    found = explain(status(lambda_(unheld(state=HALTED, reason="x"), problems=[refused])))
    assert [finding.cause for finding in found] == [Cause.GROUP_REFUSED, Cause.HALTED]


# --- how urgent -----------------------------------------------------------------------------------------------------


def test_what_has_just_begun_calls_nobody() -> None:
    soon, late = ago(2 * SECOND), ago(2 * MINUTE)
    for state, cause, urgency in (
        (WAITING, Cause.NO_SPARE_STREAM, Urgency.LOOK),
        (RESOLVING, Cause.RESOLVING, Urgency.LOOK),
        (STARTING, Cause.STARTING, Urgency.LOOK),
    ):
        assert causes(status(lambda_(unheld(state=state, state_since_ms=soon)))) == [(cause, Urgency.PASSES)]
        assert causes(status(lambda_(unheld(state=state, state_since_ms=late)))) == [(cause, urgency)]
    for since, urgency in ((soon, Urgency.PASSES), (late, Urgency.ACT)):
        waits = unheld(state=WAITING, state_since_ms=since)
        assert causes(status(lambda_(waits, processes=[]))) == [(Cause.NO_PROCESS, urgency)]
        assert causes(status(lambda_(processes=[]), started_at_ms=since)) == [(Cause.NO_PROCESS, urgency)]


def test_a_full_window_is_urgent_when_it_lasts() -> None:
    for since, stalled, urgency in (
        (2 * SECOND, None, Urgency.PASSES),
        (40 * SECOND, None, Urgency.LOOK),
        (6 * MINUTE, ago(6 * MINUTE), Urgency.ACT),
    ):
        answer = one(blocked_since_ms=ago(since), outstanding=10, delivered=20, stalled_since_ms=stalled)
        assert causes(answer) == [(Cause.WINDOW_FULL, urgency)]


def test_a_partition_that_fails_again_and_again_is_not_well_between_two_failures() -> None:
    for attempt, urgency in ((2, Urgency.PASSES), (3, Urgency.LOOK), (6, Urgency.ACT)):
        fails = unheld(state=BACKING_OFF, attempt=attempt, reason="no")
        assert causes(status(lambda_(fails))) == [(Cause.BACKING_OFF, urgency)]
    assert causes(one(attempt=3, outstanding=1, end=8900)) == [(Cause.BACKING_OFF, Urgency.LOOK)]
    assert causes(one(attempt=2, outstanding=1, end=8900)) == [(Cause.BEHIND, Urgency.WELL)]


def test_a_partition_whose_process_failed_for_others_is_well_when_nothing_is_left() -> None:
    caught_up = {"checkpoint": 8811, "committed": 8812, "end": 8812, "waits_for": pb.WAITS_FOR_RECORDS}
    assert causes(one(attempt=6, **caught_up)) == [(Cause.NOTHING_TO_DO, Urgency.WELL)]
    more = {**caught_up, "end": 8813, "waits_for": pb.WAITS_FOR_FETCH}
    assert causes(one(attempt=6, **more)) == [(Cause.BACKING_OFF, Urgency.ACT)]


def test_a_handler_that_has_not_returned_for_long_is_told_before_the_stall() -> None:
    old = {"outstanding": 2, "delivered": 9, "handled": 8, "end": 10, "progress_at_ms": ago(10 * MINUTE)}
    assert causes(one(**old, handled_at_ms=ago(40 * SECOND))) == [(Cause.HANDLER_BLOCKS, Urgency.LOOK)]
    assert causes(one(**old, handled_at_ms=ago(SECOND))) == [(Cause.BEHIND, Urgency.WELL)]
    assert causes(one(**{**old, "handled": 9})) == [(Cause.BEHIND, Urgency.WELL)]


def test_processes_that_end_are_one_finding_and_the_more_urgent_the_more_often() -> None:
    for failures, urgency in ((1, Urgency.PASSES), (2, Urgency.LOOK), (3, Urgency.ACT)):
        first, *_ = explain(status(lambda_(supervised=[crashing(0, failures)])))
        assert (first.cause, first.urgency) == (Cause.PROCESS_ENDS, urgency)
    well = pb.Supervised(instance=3, program="python", pid=7)
    first, *_ = explain(status(lambda_(supervised=[crashing(0, 2), crashing(1, 5), well])))
    assert first.text.startswith(
        "2 of the 3 processes that the sidecar runs for billing ended. Process 1 (python) ended soon after its "
        "start, 5 times in a row."
    )


def test_the_problem_of_a_process_is_not_told_twice() -> None:
    said = pb.Problem(kind="process:0", cause="process-ends", text="process 0 (python) ended", since_ms=ago(MINUTE))
    found = causes(status(lambda_(partition(), problems=[said], supervised=[crashing()])))
    assert [cause for cause, _ in found] == [Cause.PROCESS_ENDS, Cause.NOTHING_TO_DO]
    assert causes(status(lambda_(partition(), problems=[said])))[0] == (Cause.PROCESS_ENDS, Urgency.LOOK)


def test_a_lambda_that_lost_its_partitions_says_when_and_why() -> None:
    lost = pb.Rebalance(at_ms=ago(4 * SECOND), kind=pb.REBALANCE_KIND_LOST, partitions=8, reason="session timed out")
    first, *_ = explain(status(lambda_(joined=False, last_rebalance=lost)))
    assert first.sentences[1] == "It had 8 partitions until 14:11:07 UTC: session timed out."


@pytest.mark.parametrize("kind", [pb.REBALANCE_KIND_ASSIGNED, pb.REBALANCE_KIND_ASKED])
def test_a_rebalance_that_took_nothing_is_no_loss(kind: pb.RebalanceKind) -> None:
    last = pb.Rebalance(at_ms=ago(4 * SECOND), kind=kind, partitions=8, reason="no member owned orders/2")
    first, *_ = explain(status(lambda_(joined=False, last_rebalance=last)))
    assert not any("8 partitions" in sentence for sentence in first.sentences)


def test_a_loss_is_told_for_an_hour_although_the_partition_moves() -> None:
    lost = failure(pb.FAILURE_KIND_OFFSET_LOST, "the log no longer has offset 7")
    [finding] = explain(one(last_error=lost))
    assert (finding.cause, finding.urgency) == (Cause.OFFSET_LOST, Urgency.LOOK)
    assert finding.text == (
        "orders/7 has lost its offset at 14:10:51 UTC, and goes on at another. The log no longer has offset 7. "
        "Messages were left out, or come again: the sidecar's log has both offsets."
    )
    lost.at_ms = ago(61 * MINUTE)
    assert causes(one(last_error=lost)) == [(Cause.NOTHING_TO_DO, Urgency.WELL)]


# --- what is not said -----------------------------------------------------------------------------------------------


def test_what_follows_from_a_broker_that_is_away_is_not_said_again() -> None:
    away = pb.Problem(kind="connection", cause="kafka-away", text="no broker", blocks=True, since_ms=ago(MINUTE))
    partitions = [unheld(0, state=RESOLVING), partition(1, end=9000), unheld(2, state=HALTED, reason="x")]
    answer = status(lambda_(*partitions, problems=[away], connected=False))
    assert [cause for cause, _ in causes(answer)] == [Cause.KAFKA_AWAY, Cause.HALTED]


def test_partitions_without_a_leader_are_said_once() -> None:
    said = pb.Problem(kind="leaders", cause="no-leader", text="no broker leads orders/7", since_ms=ago(MINUTE))
    waits = unheld(state=RESOLVING, waits_for=pb.WAITS_FOR_LEADER)
    assert [cause for cause, _ in causes(status(lambda_(waits, problems=[said])))] == [Cause.NO_LEADER]
    assert (Cause.NO_LEADER, Urgency.ACT) in causes(status(lambda_(partition(), problems=[said])))


def test_nothing_is_said_that_an_old_sidecar_does_not_know() -> None:
    bare = pb.Partition(topic="orders", partition=7, state=HALTED, reason="ValueError: no")
    [finding] = explain(status(lambda_(bare)))
    assert finding.text == (
        "orders/7 has been halted: ValueError: no. Mend the cause; then `kafka-sidecar resume billing/orders/7` lets "
        "it go on."
    )
    full = pb.Partition(topic="orders", partition=7, state=pb.PARTITION_STATE_RUNNING, process_id="p9", outstanding=3)
    full.blocked_since_ms = ago(MINUTE)
    [finding] = explain(status(lambda_(full)))
    assert "The process p9 has not checkpointed yet. It reports of no handler" in finding.text
    assert explain(status()) == []


def test_a_cause_of_a_newer_sidecar_is_shown_with_its_text() -> None:
    new = pb.Problem(
        kind="quota", cause="quota-spent", text="Kafka's quota is spent", since_ms=ago(MINUTE), blocks=True
    )
    first, _ = explain(status(lambda_(partition(), problems=[new])))
    assert (first.cause, first.urgency) == (Cause.OTHER, Urgency.ACT)
    assert first.text == "billing: Kafka's quota is spent. It began at 14:10:11 UTC, 60 seconds ago."


def test_a_process_that_is_silent_is_named() -> None:
    answer = SCENES[Cause.WINDOW_FULL]()
    answer.lambdas[0].processes[0].CopyFrom(process(last_seen_ms=ago(9 * MINUTE)))
    assert "The process was last heard of 9 minutes ago." in explain(answer)[0].text


# --- texts from elsewhere -------------------------------------------------------------------------------------------


def test_texts_from_elsewhere_are_visible_masked_and_short() -> None:
    evil = "no \x1b[31mway\nto mongodb://me:hunter2@db/ " + "x" * 1000
    answer = status(lambda_(unheld(state=HALTED, reason=evil)))
    before = answer.SerializeToString(deterministic=True)
    text = explain(answer)[0].text
    assert "no \\x1b[31mway\\nto mongodb://me:****@db/ xxx" in text
    assert "hunter2" not in text
    assert len(text) < 700
    assert answer.SerializeToString(deterministic=True) == before, "the argument is not changed"


def test_times_are_in_the_readers_zone_with_the_date_if_it_is_another_day() -> None:
    halted = unheld(state=HALTED, reason="x", state_since_ms=ago(20 * 60 * MINUTE))
    text = explain(status(lambda_(halted)), ZoneInfo("Europe/Berlin"))[0].text
    assert "since Nov 23, 19:11:11 (20 hours)" in text


def test_a_finding_as_json() -> None:
    assert explain(SCENES[Cause.PAUSED_BY_OPERATOR]())[0].plain() == {
        "urgency": "look",
        "cause": "paused-by-operator",
        "lambdas": ["billing"],
        "partitions": [{"topic": "orders", "partition": 7}],
        "text": "orders/7 has been paused by an operator since 14:02:11 UTC (9 minutes): database migration. Kafka "
        "is 1,204 messages ahead. `kafka-sidecar resume billing/orders/7` lets it go on.",
        "commands": ["kafka-sidecar resume billing/orders/7"],
    }


def test_what_a_lambda_says_and_when_its_time_is_over() -> None:
    works = {"outstanding": 2, "delivered": 9, "handled": 8, "end": 10, "progress": "43\n%"}
    hangs = {"progress_at_ms": ago(MINUTE), "handled_at_ms": ago(MINUTE), "overdue_at_ms": NOW + 9 * SECOND}
    text = explain(one(**works, **hangs))[0].text
    assert "It last said: 43\\n%." in text
    assert "The sidecar ends this lambda in 9 seconds, unless it checkpoints or reports progress." in text
    moves = explain(one(**works, progress_at_ms=ago(SECOND), overdue_at_ms=NOW + 9 * SECOND))[0].text
    assert "It last said: 43\\n%." in moves
    assert "ends this lambda" not in moves


# --- lanes ----------------------------------------------------------------------------------------------------------


def lane(number: int, partition_number: int = 7, **fields: Any) -> pb.Partition:
    """A lane of eight."""
    return partition(partition_number, lane=number, lanes=8, **fields)


def test_a_lane_is_named_with_its_number_in_texts_and_commands() -> None:
    halted = lane(3, state=HALTED, process_id="", reason="no price", failing_offset=8813)
    [finding, *_] = explain(status(lambda_(halted, lane(0))))
    assert finding.places == (Place("orders", 7, 3),)
    assert finding.text.startswith("orders/7.3 has been halted at offset 8,813")
    assert finding.commands[-1] == "kafka-sidecar resume billing/orders/7.3 --skip"
    assert finding.plain()["partitions"] == [{"topic": "orders", "partition": 7, "lane": 3}]


def test_several_lanes_are_counted_as_lanes_and_their_partition_lags_once() -> None:
    halted: dict[str, Any] = {"state": HALTED, "process_id": "", "end": 8913, "reason": "no"}
    of_one = status(lambda_(*(lane(number, **halted) for number in (0, 1, 5))))
    [finding, *_] = explain(of_one)
    assert finding.text.startswith("3 lanes of orders/7 (0-1, 5)")
    assert "Kafka is 100 messages ahead" in finding.text
    [finding, *_] = explain(status(lambda_(*(lane(number % 2, number, **halted) for number in (2, 3, 5)))))
    assert finding.text.startswith("3 lanes of orders (partitions 2-3, 5)")


def test_a_lane_that_waits_for_another_one_says_for_which() -> None:
    beside = lane(
        3, blocked_since_ms=ago(40 * SECOND), waiting=9, reason="too far ahead of orders/7.5, which is at offset 12"
    )
    [finding, *_] = explain(status(lambda_(beside)))
    assert finding.cause is Cause.WINDOW_FULL
    assert "waits for another lane: too far ahead of orders/7.5, which is at offset 12." in finding.text
    assert finding.commands == ("kafka-sidecar explain billing/orders/7",)
