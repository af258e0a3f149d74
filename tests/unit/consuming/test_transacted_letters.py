"""Dead letters of a lambda with exactly-once: one that Kafka refuses halts its lane, until somebody resumes it."""

from __future__ import annotations

import pytest

from sidecar.consuming import letter_reader, transacted
from sidecar.consuming.held_letters import Held, HeldLetters
from sidecar.mail import letters
from sidecar.mail.outgoing import Outgoing, Refused, RefusedLetter
from sidecar.partitions.vocabulary import (
    DeadLetter,
    ErrorAction,
    Failure,
    FailureKind,
    Lane,
    Report,
    RevokeReason,
    State,
    TopicPartition,
)

from .bench import LANE0, LANE1, P0, P1
from .test_transacted import GROUP_2, ExactBench

LETTER = Outgoing("dead", b"k", b"v", 0, ())
REFUSED = RefusedLetter("Broker: Message size too large (topic dead)")
GONE = RefusedLetter("Broker: Unknown topic or partition (topic dead)", is_gone=True)


def begin(**options: object) -> ExactBench:
    """Of each partition 0 to 4 are with its lambda, but for 2 of the first one: its dead letter waits."""
    bench = ExactBench(on_critical="dead-letter", **options)
    bench.begin(P0, P1)
    bench.transacted.hold(LANE0, 2, LETTER)
    return bench


def resolve(bench: ExactBench, *tps: TopicPartition) -> None:
    """Kafka says where they are; they run again, and their records come again."""
    bench.letters.carry_out()
    for tp in tps:
        bench.table.resolved(tp, 0, bench.now, committed=True)
    bench.letters.carry_out()


def again(bench: ExactBench, *tps: TopicPartition) -> list[list[int]]:
    for _ in tps:
        bench.run()
    for tp in tps:
        bench.table.rewound(Lane(tp))
        bench.fetch(*range(5), partition=tp.partition)
    return bench.send()


def reports(bench: ExactBench, event: str) -> list[Report]:
    return [one for one in bench.table.commands if isinstance(one, Report) and one.event == event]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ExactBench:
    made = begin()
    made.clock(monkeypatch, letter_reader, transacted)
    return made


def commit_both(bench: ExactBench, *values: str) -> None:
    for tp in (P0, P1):
        bench.commit(bench.lease_of(tp), 4, *values)


def test_one_that_is_refused_halts_its_lane_at_its_record(bench: ExactBench) -> None:
    commit_both(bench)
    assert bench.jobs[0].dead_letters == 1
    bench.end(*bench.jobs, refused=Refused("too large", letters={0: {0: REFUSED}}))
    assert not bench.problems.texts
    assert bench.dead_letters.looks == 1
    resolve(bench, P0, P1)
    first, second = bench.lane(P0), bench.lane(P1)
    assert [one.state for one in (first, second)] == [State.WAITING] * 2, "nothing is tried again, so nobody waits"
    assert (first.trouble.attempt, second.trouble.attempt) == (1, 1)
    assert sorted(again(bench, P0, P1)) == [[0, 1], [0, 1, 2, 3, 4]]
    assert (first.state, second.state) == (State.DRAINING, State.RUNNING)
    (said,) = reports(bench, "dead letter cannot be written: halting")
    assert (said.lane, said.fields["offset"], said.fields["reason"]) == (LANE0, 2, REFUSED.text)
    assert first.trouble.reason == f"the dead letter for offset 2 cannot be written: {REFUSED.text}"
    assert first.trouble.failing_offset == 2
    assert first.last_failure is not None
    assert first.last_failure.kind is FailureKind.DEAD_LETTER
    assert bench.table.counts.dead_letters == 0
    bench.letters.carry_out()
    assert bench.revokes() == [RevokeReason.ABORTED] * 2 + [RevokeReason.HALTED]
    # What is done before the record is committed, together with the other partition.
    bench.writer.rounds.clear()
    bench.jobs.clear()
    bench.commit(bench.lease_of(P0), 1)
    bench.commit(bench.lease_of(P1), 4)
    bench.end(*bench.jobs)
    offsets = [(job.tp, job.offset, job.dead_letters) for job in bench.jobs]
    assert offsets[0] == (P0, 2, 0)
    assert first.offsets.committed == 2


def test_after_a_resume_it_is_tried_again(bench: ExactBench) -> None:
    commit_both(bench)
    bench.end(*bench.jobs, refused=Refused("too large", letters={0: {0: REFUSED}}))
    resolve(bench, P0)
    bench.table.operator.pause(P0, "", 1.0, bench.now)
    bench.table.operator.resume(P0, bench.now, skip=False)
    assert again(bench, P0) == [[0, 1, 2, 3, 4]]


def test_it_is_counted_when_its_transaction_is_committed(bench: ExactBench) -> None:
    commit_both(bench)
    assert bench.table.counts.dead_letters == 0
    bench.end(*bench.jobs)
    assert bench.table.counts.dead_letters == 1
    (said,) = reports(bench, "dead letter written")
    assert (said.lane, said.fields["offset"]) == (LANE0, 2)


@pytest.mark.parametrize("also", ["a record of its own", "the other partition"])
def test_another_record_that_is_refused_with_it_backs_off_and_goes_alone(bench: ExactBench, also: str) -> None:
    commit_both(bench, "bad")
    culprit = 0 if also == "a record of its own" else 1
    bench.end(*bench.jobs, refused=Refused("too large", frozenset({culprit}), {0: {1: REFUSED}}))
    resolve(bench, P0, P1)
    states = [bench.lane(tp).state for tp in (P0, P1)]
    assert states == [State.BACKING_OFF if number == culprit else State.WAITING for number in (0, 1)]
    bench.now += 60
    bench.table.tick(bench.now)
    bench.letters.carry_out()
    assert sorted(again(bench, P0, P1)) == [[0, 1], [0, 1, 2, 3, 4]]
    assert bench.transacted._alone == {(P0, P1)[culprit]}


def test_a_partition_shares_transactions_again_when_its_letter_is_given_up(bench: ExactBench) -> None:
    """Its batch was refused as a whole, so it was the culprit at first; alone, the letter is. It has no records."""
    commit_both(bench)
    bench.now += 1
    bench.end(*bench.jobs, refused=Refused("mixed", frozenset({0})))
    resolve(bench, P0, P1)
    bench.now += 60
    bench.table.tick(bench.now)
    bench.letters.carry_out()
    assert sorted(again(bench, P0, P1)) == [[0, 1, 2, 3, 4]] * 2
    bench.jobs.clear()
    bench.transacted.hold(LANE0, 2, LETTER)
    commit_both(bench)
    assert bench.writer.rounds[1:] == [[P0], [P1]]
    bench.now += 1
    bench.end(bench.jobs[0], refused=Refused("too large", letters={0: {0: REFUSED}}))
    bench.end(bench.jobs[1])
    resolve(bench, P0)
    assert again(bench, P0) == [[0, 1]]
    bench.fetch(5, partition=1)
    bench.send()
    bench.writer.rounds.clear()
    bench.commit(bench.lease_of(P1), 5)
    bench.commit(bench.lease_of(P0), 1)
    assert [sorted(one) for one in bench.writer.rounds] == [[P0, P1]]


def test_of_several_letters_the_first_halts_and_the_others_come_again(bench: ExactBench) -> None:
    bench.transacted.hold(LANE0, 3, LETTER)
    bench.transacted.hold(LANE1, 0, LETTER)
    commit_both(bench)
    assert [job.dead_letters for job in bench.jobs] == [2, 1]
    refusals = {0: {1: REFUSED, 0: REFUSED}, 1: {0: REFUSED}}
    bench.end(*bench.jobs, refused=Refused("too large", letters=refusals))
    resolve(bench, P0, P1)
    assert {*bench.lane(P0).dead} == {2}
    assert {*bench.lane(P1).dead} == {0}
    assert bench.lane(P0).skip == set()


def test_one_that_was_made_before_an_abort_and_answered_after_it_is_not_written(bench: ExactBench) -> None:
    """Its record comes again, and may succeed this time."""
    commit_both(bench)
    lane = bench.lane(P1)
    letter = DeadLetter(Failure(ErrorAction.CRITICAL, 3), 1, bench.now, bench.now)
    lane.dead[3] = letter
    bench.end(*bench.jobs, refused=Refused("no"))
    bench.letters.read(letters.DeadLettered(LANE1, 3, letter, "", LETTER))
    resolve(bench, P0, P1)
    assert lane.skip == set()
    again(bench, P0, P1)
    bench.jobs.clear()
    commit_both(bench)
    assert [job.dead_letters for job in bench.jobs] == [0, 0]


def test_jobs_that_are_written_again_know_their_letters(bench: ExactBench) -> None:
    commit_both(bench)
    bench.consumer.generation = 2
    bench.end(*bench.jobs, refused=Refused("illegal generation", is_stale_member=True))
    assert [(job.group, job.dead_letters) for job in bench.jobs[2:]] == [(GROUP_2, 1), (GROUP_2, 0)]


def test_a_topic_that_is_gone_is_looked_at_anew_once() -> None:
    looks: list[None] = []
    held = HeldLetters(lambda: looks.append(None))
    of_both = {0: [Held(LANE0, 2, LETTER)], 1: [Held(LANE1, 3, LETTER)]}
    both = {0: {0: GONE}, 1: {0: GONE}}
    assert held.refused(of_both, both) == ({}, {0, 1})
    assert len(looks) == 1
    halted = {LANE0: (2, GONE.text), LANE1: (3, GONE.text)}
    assert held.refused(of_both, both) == (halted, set())
    assert held.refused(of_both, both) == ({}, {0, 1}), "after a resume"
    held.written(of_both[0])
    assert held.refused(of_both, both) == ({}, {0, 1}), "it was there in between"
