"""Commits of a lambda with exactly-once: what goes into which job, and what an abort takes back."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError

from sidecar.consuming import letter_reader, transacted
from sidecar.mail import letters
from sidecar.mail.outgoing import Job, Outcome, Outgoing, Refused, Written
from sidecar.partitions.partition import Partition
from sidecar.partitions.vocabulary import (
    CheckpointOutcome,
    ErrorAction,
    Failure,
    FailureKind,
    Lease,
    Progress,
    Revoke,
    RevokeReason,
    State,
    TopicPartition,
    WaitsFor,
)
from sidecar.partitions.waiting import waits_for

from .bench import LANE0, P0, P1, Bench

GROUP_2 = b"CGMDv2:\x02\x00\x00\x00g\0member\0\1"


class NoReply:
    """In the place of a `Reply`, which needs a loop."""


class ExactBench(Bench):
    def __init__(self, **options: Any) -> None:
        super().__init__(guarantee="exactly-once", **options)
        assert self.state.transacted is not None
        self.transacted = self.state.transacted

    @property
    def jobs(self) -> list[Job]:
        return self.writer.jobs

    def begin(self, *tps: TopicPartition, records: int = 5) -> list[Lease]:
        """The partitions run, and so many records of each are with their lambdas."""
        self.assign(*tps)
        leases = [self.run() for _ in tps]
        for tp in tps:
            self.fetch(*range(records), partition=tp.partition)
        self.send()
        return leases

    def unit(self, lease: Lease, *values: str) -> letters.Unit:
        records = [Outgoing("out", None, value.encode(), -1, ()) for value in values]
        return letters.Unit(lease, records, NoReply())  # type: ignore[arg-type]

    def lane(self, tp: TopicPartition) -> Partition:
        (lane,) = self.table.partitions[tp].lanes
        return lane

    def lease_of(self, tp: TopicPartition) -> Lease:
        lease = self.lane(tp).lease
        assert lease is not None
        return lease

    def commit(self, lease: Lease, offset: int, *values: str) -> letters.Unit:
        unit = self.unit(lease, *values)
        self.letters.read(letters.Commit(Progress(offset), unit))
        return unit

    def end(self, *jobs: Job, refused: Refused | None = None) -> None:
        """The transaction of these jobs has ended."""
        outcome = Outcome.WRITTEN if refused is None else Outcome.FAILED
        written = [
            Written(
                [outcome] * len(job.records), [0] * len(job.records), [9] * len(job.records), [""] * len(job.records)
            )
            for job in jobs
        ]
        self.letters.read(letters.Transacted(jobs, written, refused, self.now))

    def answers(self) -> list[tuple[letters.Unit, letters.UnitAnswer]]:
        return [
            (item.reply, item.value)  # type: ignore[misc]
            for item in self.outbox.posted
            if isinstance(item, letters.Answer) and isinstance(item.value, letters.UnitAnswer)
        ]

    def answer(self, unit: letters.Unit) -> letters.UnitAnswer:
        (found,) = [value for reply, value in self.answers() if reply is unit.reply]  # type: ignore[comparison-overlap]
        return found

    def revokes(self) -> list[RevokeReason]:
        return [item.reason for item in self.outbox.posted if isinstance(item, Revoke)]


def test_a_checkpoint_with_records_is_one_job() -> None:
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    unit = bench.commit(lease, 2, "a", "b")
    (job,) = bench.jobs
    assert (job.tp, job.offset, [record.value for record in job.records]) == (P0, 3, [b"a", b"b"])
    assert job.group == bench.consumer.consumer_group_metadata()
    assert not bench.answers()
    assert bench.lane(P0).offsets.committed == 0
    bench.end(job)
    answer = bench.answer(unit)
    assert (answer.outcome, answer.written and answer.written.outcomes) == (CheckpointOutcome.ACCEPTED, [1, 1])
    assert bench.lane(P0).offsets.committed == 3
    assert bench.transacted.committed_count == 1


def test_what_comes_while_a_job_is_under_way_goes_with_the_next() -> None:
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    bench.commit(lease, 0, "a")
    second, third = bench.commit(lease, 1, "b"), bench.commit(lease, 2, "c", "d")
    assert len(bench.jobs) == 1
    bench.end(bench.jobs[0])
    assert len(bench.jobs) == 2
    assert (bench.jobs[1].offset, len(bench.jobs[1].records)) == (3, 3)
    bench.end(bench.jobs[1])
    counts = [len(w.outcomes) if (w := bench.answer(unit).written) is not None else None for unit in (second, third)]
    assert counts == [1, 2]


def test_several_entries_of_a_lease_in_one_call_have_records_of_their_own() -> None:
    """Seen with the SDK for Java, which looked at a lease again while it collected: a record was written twice."""
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    first, third = bench.unit(lease, "a"), bench.unit(lease, "b")
    entries = [(lease, Progress(0)), (lease, Progress(None)), (lease, Progress(1))]
    bench.letters.read(letters.Checkpoints(entries, NoReply(), {0: first, 2: third}))  # type: ignore[arg-type]
    bench.end(bench.jobs[0])
    bench.end(bench.jobs[1])
    written = [(job.offset, [record.value for record in job.records]) for job in bench.jobs]
    assert written == [(1, [b"a"]), (2, [b"b"])]
    assert [bench.answer(unit).outcome for unit in (first, third)] == [CheckpointOutcome.ACCEPTED] * 2


@pytest.mark.parametrize("offset", [7, 0])
def test_without_an_accepted_checkpoint_there_is_no_job(offset: int) -> None:
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    bench.commit(lease, 2)
    unit = bench.commit(lease, offset, "a")
    assert len(bench.jobs) == 1
    answer = bench.answer(unit)
    assert answer.outcome in (CheckpointOutcome.BEYOND_DELIVERED, CheckpointOutcome.IGNORED_LOWER)
    assert answer.written is None


def test_a_dead_lease_commits_nothing() -> None:
    bench = ExactBench()
    bench.begin(P0)
    assert bench.answer(bench.commit("dead", 2, "a")).outcome is CheckpointOutcome.STALE_LEASE
    assert not bench.jobs


def test_a_round_waits_for_the_lanes_that_have_records() -> None:
    bench = ExactBench()
    first, second = bench.begin(P0, P1)
    bench.commit(first, 2, "a")
    assert not bench.jobs
    bench.commit(second, 2, "b")
    assert bench.writer.rounds == [[P0, P1]]


def test_a_round_waits_for_the_lanes_of_the_last_one() -> None:
    """Otherwise the first of two lanes that come back would go alone, and the other with the round after it."""
    bench = ExactBench()
    first, second = bench.begin(P0, P1)
    for lease in (first, second):
        bench.commit(lease, 4, "a")
    bench.fetch(5)
    bench.send()
    bench.end(*bench.jobs)
    bench.commit(first, 5, "b")
    assert bench.transacted.round_begins_at > bench.now
    bench.commits.work(bench.consumer.as_consumer, bench.transacted.round_begins_at - 0.001)
    assert len(bench.writer.rounds) == 1
    bench.commits.work(bench.consumer.as_consumer, bench.transacted.round_begins_at)
    assert bench.writer.rounds[1:] == [[P0]]
    bench.end(bench.jobs[-1])
    bench.fetch(6)
    bench.send()
    bench.commit(first, 6, "c")
    assert bench.writer.rounds[2:] == [[P0]], "P1 was not in the last round, and has no records"


def test_a_lane_that_drains_does_not_wait_for_others() -> None:
    bench = ExactBench()
    first, _ = bench.begin(P0, P1)
    bench.table.revoke([P0], RevokeReason.REBALANCE, 5.0, bench.now)
    bench.commit(first, 2, "a")
    assert bench.writer.rounds == [[P0]]


def test_places_without_records_join_the_round_that_is_due() -> None:
    bench = ExactBench()
    first, second = bench.begin(P0, P1)
    bench.table.streams.checkpoint(second, Progress(4), bench.now)
    bench.commits.hurry()
    bench.commit(first, 2, "a")
    assert bench.writer.rounds == [[P0, P1]]
    assert bench.transacted.round_begins_at > 1e9, "nothing is due before the answer"


def test_places_that_move_without_records_are_committed_at_the_interval() -> None:
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    bench.table.streams.checkpoint(lease, Progress(4), bench.now)
    bench.commits.work(bench.consumer.as_consumer, bench.now)
    (job,) = bench.jobs
    assert (job.offset, job.records) == (5, [])
    bench.commits.work(bench.consumer.as_consumer, bench.now + 10)
    assert len(bench.jobs) == 1, "one at a time"


def test_the_first_place_of_a_new_group_waits_for_its_transaction() -> None:
    bench = ExactBench()
    bench.table.assigned([P0, P1], bench.now)
    for tp in (P0, P1):
        bench.table.resolved(tp, 7, bench.now, committed=False)
    bench.commits.work(bench.consumer.as_consumer, bench.now)
    assert [(job.tp, job.offset) for job in bench.jobs] == [(P0, 7), (P1, 7)]
    assert bench.writer.rounds == [[P0, P1]]
    partition = bench.lane(P0)
    assert waits_for(partition, has_leader=True, end=None) is WaitsFor.TRANSACTION
    bench.end(*bench.jobs)
    assert partition.state is State.WAITING


def test_an_abort_fences_and_asks_kafka_where_the_partition_is() -> None:
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    unit = bench.commit(lease, 2, "a")
    waiting = bench.commit(lease, 3, "b")
    bench.end(bench.jobs[0], refused=Refused("no"))
    bench.letters.carry_out()
    assert [bench.answer(one).outcome for one in (unit, waiting)] == [CheckpointOutcome.STALE_LEASE] * 2
    assert bench.revokes() == [RevokeReason.ABORTED]
    partition = bench.lane(P0)
    assert (partition.state, partition.offsets.uncommitted, partition.lease) == (State.RESOLVING, False, None)
    assert partition.last_failure is not None
    assert partition.last_failure.kind is FailureKind.ABORTED
    assert len(bench.jobs) == 1
    assert "transactions" in bench.problems
    bench.table.resolved(P0, 0, bench.now, committed=True)
    assert (partition.state, partition.offsets.rewind_pending) == (State.WAITING, True)
    assert partition.trouble.attempt == 2


def test_the_culprit_backs_off_and_goes_alone_until_a_record_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = ExactBench()
    bench.clock(monkeypatch, letter_reader, transacted)
    first, second = bench.begin(P0, P1)
    bench.commit(first, 2, "bad")
    bench.commit(second, 2, "good")
    bench.now += 1
    bench.end(*bench.jobs, refused=Refused("too large", frozenset({0})))
    assert "transactions" not in bench.problems
    for tp in (P0, P1):
        bench.table.resolved(tp, 0, bench.now, committed=True)
    states = [bench.lane(tp).state for tp in (P0, P1)]
    assert states == [State.BACKING_OFF, State.WAITING]
    bench.now += 60
    bench.table.tick(bench.now)
    bench.letters.carry_out()
    bench.jobs.clear()
    bench.writer.rounds.clear()
    bench.run()
    bench.run()
    for tp in (P0, P1):
        bench.fetch(*range(5), partition=tp.partition)
    bench.send()
    for tp in (P0, P1):
        bench.commit(bench.lease_of(tp), 2, "again")
    assert bench.writer.rounds == [[P0], [P1]]
    bench.end(bench.jobs[0])
    bench.end(bench.jobs[1])
    for tp in (P0, P1):
        bench.commit(bench.lease_of(tp), 3, "more")
    assert bench.writer.rounds[2:] == [[P0, P1]]


def test_failures_are_forgotten_only_when_progress_is_committed() -> None:
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    trouble = bench.lane(P0).trouble
    trouble.failed(bench.now)
    bench.commit(lease, 2, "a")
    assert trouble.failures == 1
    bench.end(bench.jobs[0])
    assert trouble.failures == 0


def test_jobs_of_a_former_generation_are_written_again_with_the_present_one() -> None:
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    unit = bench.commit(lease, 2, "a")
    bench.consumer.generation = 2
    bench.end(bench.jobs[0], refused=Refused("illegal generation", is_stale_member=True))
    first, again = bench.jobs
    assert (again.group, again.offset, again.records) == (GROUP_2, first.offset, first.records)
    assert not bench.answers()
    bench.end(again)
    assert bench.answer(unit).outcome is CheckpointOutcome.ACCEPTED


def test_of_the_present_generation_they_are_lost() -> None:
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    unit = bench.commit(lease, 2, "a")
    bench.end(bench.jobs[0], refused=Refused("illegal generation", is_stale_member=True))
    assert len(bench.jobs) == 1
    assert bench.answer(unit).outcome is CheckpointOutcome.STALE_LEASE


def test_a_revoke_waits_for_the_job_that_is_under_way() -> None:
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    unit = bench.commit(lease, 2, "a")
    job = bench.jobs[0]
    written = Written([1], [0], [9], [""])
    bench.state.mailbox.put(letters.Transacted([job], [written], None, bench.now))
    bench.revoked()
    assert bench.answer(unit).outcome is CheckpointOutcome.ACCEPTED
    assert P0 not in bench.table.partitions
    assert not job.withdrawn


def test_what_is_not_answered_in_time_is_withdrawn() -> None:
    bench = ExactBench(rebalance_drain="1ms")
    (lease,) = bench.begin(P0)
    unit = bench.commit(lease, 2, "a")
    bench.revoked()
    assert bench.jobs[0].withdrawn
    assert bench.answer(unit).outcome is CheckpointOutcome.STALE_LEASE
    bench.end(bench.jobs[0])  # it was begun before
    assert len(bench.answers()) == 1


def test_the_last_checkpoint_of_an_error_takes_its_records_unless_it_covers_the_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = ExactBench()
    bench.clock(monkeypatch, letter_reader, transacted)
    (lease,) = bench.begin(P0)
    reply: Any = NoReply()
    unit = bench.unit(lease, "a")
    failure = Failure(ErrorAction.RESTART, 3)
    bench.letters.read(letters.Failed(lease, failure, Progress(2), reply, unit))
    assert [(job.offset, len(job.records)) for job in bench.jobs] == [(3, 1)]
    bench.end(bench.jobs[0])
    assert bench.answer(unit).outcome is CheckpointOutcome.ACCEPTED
    bench.now += 60
    bench.table.tick(bench.now)
    lease = bench.run()
    void = bench.unit(lease, "b")
    bench.letters.read(letters.Failed(lease, failure, Progress(3), reply, void))
    assert len(bench.jobs) == 1
    assert bench.answer(void).written is None


def test_a_dead_letter_goes_with_the_first_place_after_its_record() -> None:
    bench = ExactBench(on_critical="dead-letter")
    (lease,) = bench.begin(P0)
    letter = Outgoing("dead", b"k", b"v", 0, ())
    bench.transacted.hold(LANE0, 2, letter)
    bench.commit(lease, 1, "a")
    assert len(bench.jobs[0].records) == 1
    bench.end(bench.jobs[0])
    bench.commit(lease, 2, "b")
    assert bench.jobs[1].records[-1] is letter
    unit = bench.commit(lease, 3, "c")
    bench.end(bench.jobs[1])
    bench.end(bench.jobs[2])
    written = bench.answer(unit).written
    assert written is not None
    assert len(written.outcomes) == 1


def test_a_dead_letter_that_was_not_written_comes_again() -> None:
    bench = ExactBench(on_critical="dead-letter")
    (lease,) = bench.begin(P0)
    partition = bench.lane(P0)
    partition.skip.add(3)
    bench.transacted.hold(LANE0, 3, Outgoing("dead", b"k", b"v", 0, ()))
    bench.commit(lease, 1, "a")
    bench.end(bench.jobs[0], refused=Refused("no"))
    bench.table.resolved(P0, 0, bench.now, committed=True)
    assert partition.skip == set()


def test_too_many_aborts_halt() -> None:
    bench = ExactBench(max_restarts=0)
    (lease,) = bench.begin(P0)
    bench.commit(lease, 2, "bad")
    bench.end(bench.jobs[0], refused=Refused("too large", frozenset({0})))
    bench.table.resolved(P0, 0, bench.now, committed=True)
    partition = bench.lane(P0)
    assert partition.state is State.HALTED
    assert "too large" in partition.trouble.reason


def test_that_transactions_cannot_begin_is_a_problem_with_its_remedy() -> None:
    bench = ExactBench()
    error = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    bench.letters.read(letters.NoTransactions("kafka-sidecar-g-l-1", error))
    assert not bench.problems.ready
    assert (
        "allow the user Write and Describe on the transactional id 'kafka-sidecar-g-l-1'" in bench.problems.texts[0]
    )
    bench.letters.read(letters.NoTransactions("kafka-sidecar-g-l-1", None))
    assert bench.problems.ready


def test_the_end_waits_for_the_transactions() -> None:
    bench = ExactBench()
    (lease,) = bench.begin(P0)
    bench.table.streams.checkpoint(lease, Progress(4), bench.now)

    def read() -> None:
        if bench.jobs:
            bench.end(bench.jobs[0])

    bench.commits.finish(bench.consumer.as_consumer, [P0], 5.0, read)
    assert bench.lane(P0).offsets.committed == 5
