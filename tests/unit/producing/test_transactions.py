"""The transactions thread over a played client: whatever fails, all of a round is visible or nothing of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition as KafkaPartition
from hypothesis import given, settings, strategies as st

from sidecar.config.kafka_properties import Property
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.outgoing import Job, Outcome, Outgoing, RefusedLetter
from sidecar.partitions.vocabulary import TopicPartition
from sidecar.producing import transactions
from sidecar.producing.transactions import Transactions

PATIENCE = 20.0
RETRIABLE = KafkaError(KafkaError._TIMED_OUT, "timed out", False, True, False)
ABORTABLE = KafkaError(KafkaError.NOT_ENOUGH_REPLICAS, "not enough replicas", False, False, True)
STALE = KafkaError(KafkaError.ILLEGAL_GENERATION, "illegal generation", False, False, True)
FATAL = KafkaError(KafkaError._FENCED, "fenced", True, False, False)
ODD = KafkaError(KafkaError._STATE, "wrong state")
STEPS = ("init", "begin", "produce", "flush", "offsets", "commit", "committed", "abort")


@dataclass
class Cluster:
    """What the transactions of all producers have made visible, and what fails next."""

    fails: list[tuple[str, KafkaError]] = field(default_factory=list)
    """Steps that fail, each once, in this order. `committed`: the commit succeeds, and its answer fails."""
    refuses: dict[bytes, KafkaError] = field(default_factory=dict)
    """Records, by their value, that the broker refuses."""
    hangs: str = ""
    """A step that does not return, once, before `let_go` is set."""
    let_go: threading.Event = field(default_factory=threading.Event)
    records: list[bytes] = field(default_factory=list)
    places: dict[tuple[str, int], int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    rounds: list[list[bytes]] = field(default_factory=list)
    made: list[dict[str, Any]] = field(default_factory=list)
    groups: list[object] = field(default_factory=list)

    def step(self, name: str) -> None:
        self.calls.append(name)
        if self.hangs == name:
            self.hangs = ""
            assert self.let_go.wait(PATIENCE)
        if self.fails and self.fails[0][0] == name:
            raise KafkaException(self.fails.pop(0)[1])


class Reported:
    """A message of a delivery report."""

    def topic(self) -> str:
        return "out"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 17


class PlayedProducer:
    def __init__(self, cluster: Cluster, properties: dict[str, Any]) -> None:
        self._cluster = cluster
        self._open: list[bytes] = []
        self._reports: list[tuple[Any, KafkaError | None]] = []
        self._places: list[KafkaPartition] = []
        cluster.made.append(properties)

    def init_transactions(self, _: float) -> None:
        self._cluster.step("init")

    def begin_transaction(self) -> None:
        self._cluster.step("begin")
        self._open, self._places, self._reports = [], [], []

    def produce(self, _: str, value: bytes | None, __: bytes | None, *rest: Any) -> None:
        self._cluster.step("produce")
        error = self._cluster.refuses.get(value or b"")
        self._reports.append((rest[1], error))
        if error is None:
            self._open.append(value or b"")

    def poll(self, _: float) -> int:
        return 0

    def flush(self, _: float) -> int:
        self._cluster.step("flush")
        reports, self._reports = self._reports, []
        for report, error in reports:
            report(error, Reported())
        return 0

    def purge(self) -> None:
        self._cluster.calls.append("purge")

    def send_offsets_to_transaction(self, positions: list[KafkaPartition], group_metadata: Any, _: float) -> None:
        self._cluster.step("offsets")
        self._cluster.groups.append(group_metadata)
        self._places = positions

    def commit_transaction(self, _: float) -> None:
        self._cluster.step("commit")
        if self._open or self._places:
            self._cluster.rounds.append(self._open)
        self._cluster.records += self._open
        self._cluster.places |= {(p.topic, p.partition): p.offset for p in self._places}
        self._open, self._places = [], []
        self._cluster.step("committed")

    def abort_transaction(self, _: float) -> None:
        self._cluster.step("abort")
        self._open, self._places = [], []


class Lab:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.mailbox = Mailbox()
        properties: dict[str, Property] = {
            "transactional.id": "kafka-sidecar-g-l-1",
            "transaction.timeout.ms": 10_000,
        }
        self.thread = Transactions("l", properties, self.mailbox, lambda made, _: PlayedProducer(cluster, made))

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.stop()
        if self.thread.ident is not None:
            self.thread.join(PATIENCE)
            assert not self.thread.is_alive()

    def run(self, *jobs: Job) -> list[letters.Transacted]:
        """These jobs, in one round. Returns the answers, when each job has one."""
        self.thread.submit(jobs)
        if self.thread.ident is None:
            self.thread.start()
        return self.answers(len(jobs))

    def answers(self, count: int) -> list[letters.Transacted]:
        found: list[letters.Transacted] = []
        while sum(len(one.jobs) for one in found) < count:
            letter = self.mailbox.take(PATIENCE)
            assert letter is not None, "no answer"
            if isinstance(letter, letters.Transacted):
                found.append(letter)
        return found


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "RETRY_S", (0.001, 0.002))


def job(number: int, *values: str, partition: int = 0) -> Job:
    records = [Outgoing("out", None, value.encode(), -1, ()) for value in values]
    return Job(TopicPartition("t", partition), number, "", records, b"g1")


def test_records_and_place_become_visible_together() -> None:
    with Lab(Cluster()) as lab:
        (answer,) = lab.run(job(7, "a", "b"))
        assert answer.refused is None
        assert answer.written[0].outcomes == [Outcome.WRITTEN] * 2
        assert (answer.written[0].partitions, answer.written[0].offsets) == ([3, 3], [17, 17])
        assert (lab.cluster.records, lab.cluster.places) == ([b"a", b"b"], {("t", 0): 7})
        assert lab.cluster.groups == [b"g1"]


@pytest.mark.parametrize("step", ["begin", "offsets", "commit"])
def test_a_call_that_never_returns_costs_its_producer_and_not_the_partition(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "OVERDUE_S", 0.05 - 10.0)
    cluster = Cluster(hangs=step)
    with Lab(cluster) as lab:
        (answer,) = lab.run(job(7, "a"))
        assert answer.refused is not None
        assert "does not return" in answer.refused.text
        monkeypatch.undo()
        (answer,) = lab.run(job(7, "a"))
        assert answer.refused is None
        assert (cluster.records, cluster.places) == ([b"a"], {("t", 0): 7})
        assert len(cluster.made) == 2
        cluster.let_go.set()


def test_an_abort_that_never_returns_costs_its_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "OVERDUE_S", 0.05 - 10.0)
    cluster = Cluster(fails=[("offsets", ABORTABLE)], hangs="abort")
    with Lab(cluster) as lab:
        refused, written = lab.run(job(7, "a"))[0], lab.run(job(8, "b"))[0]
        assert refused.refused is not None
        assert written.refused is None
        assert (cluster.records, len(cluster.made)) == ([b"b"], 2)
        cluster.let_go.set()


def test_jobs_of_several_partitions_share_a_transaction() -> None:
    with Lab(Cluster()) as lab:
        (answer,) = lab.run(job(1, "a"), job(2, "b", partition=1))
        assert len(answer.jobs) == 2
        assert lab.cluster.rounds == [[b"a", b"b"]]


def test_a_withdrawn_job_is_not_begun() -> None:
    with Lab(Cluster()) as lab:
        gone, there = job(1, "gone"), job(2, "there", partition=1)
        gone.withdrawn = True
        lab.thread.submit([gone])
        lab.thread.submit([gone, there])
        lab.thread.start()
        (answer,) = lab.answers(1)
        assert list(answer.jobs) == [there]
        assert lab.cluster.records == [b"there"]


def test_a_call_that_may_be_repeated_is_repeated() -> None:
    fails = [(step, RETRIABLE) for step in ("init", "begin", "offsets", "commit")]
    with Lab(Cluster(fails)) as lab:
        (answer,) = lab.run(job(7, "a"))
        assert answer.refused is None
        assert lab.cluster.records == [b"a"]
        assert len(lab.cluster.made) == 1


def test_a_commit_without_an_answer_is_asked_again_and_not_guessed() -> None:
    with Lab(Cluster([("committed", RETRIABLE)])) as lab:
        (answer,) = lab.run(job(7, "a"))
        assert answer.refused is None
        assert lab.cluster.records == [b"a"]
        assert "abort" not in lab.cluster.calls


@pytest.mark.parametrize("step", ["begin", "offsets", "commit"])
@pytest.mark.parametrize("error", [ABORTABLE, FATAL, ODD])
def test_a_step_that_fails_aborts_all(step: str, error: KafkaError) -> None:
    with Lab(Cluster([(step, error)])) as lab:
        (answer,) = lab.run(job(7, "a"))
        assert answer.refused is not None
        assert not answer.refused.culprits
        assert answer.written[0].outcomes == [Outcome.FAILED]
        assert error.str() in answer.written[0].errors[0]
        assert lab.cluster.records == []
        assert ("abort" in lab.cluster.calls) is (error is ABORTABLE)
        (after,) = lab.run(job(7, "a"))
        assert after.refused is None
        assert len(lab.cluster.made) == (1 if error is ABORTABLE else 2)


def test_a_stale_member_is_told_apart() -> None:
    with Lab(Cluster([("offsets", STALE)])) as lab:
        (answer,) = lab.run(job(7, "a"))
        assert answer.refused is not None
        assert answer.refused.is_stale_member


def test_the_record_that_is_refused_is_named_and_its_job_the_culprit() -> None:
    unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    with Lab(Cluster(refuses={b"bad": unknown})) as lab:
        (answer,) = lab.run(job(1, "good"), job(2, "a", "bad", partition=1))
        assert answer.refused is not None
        assert answer.refused.culprits == {1}
        assert "does not exist" in answer.written[1].errors[1]
        assert "aborted" in answer.written[0].errors[0]
        assert "aborted" in answer.written[1].errors[0]
        assert lab.cluster.records == []


def test_a_record_that_must_not_be_written_aborts_its_job() -> None:
    named = Outgoing("out", None, b"bad", -1, (), "a header's name is not UTF-8")
    with Lab(Cluster()) as lab:
        good, bad = job(1, "good"), job(2, "a", partition=1)
        bad.records = [*bad.records, named]
        (answer,) = lab.run(good, bad)
        assert answer.refused is not None
        assert answer.refused.culprits == {1}
        assert "a header's name is not UTF-8" in answer.written[1].errors[1]
        assert lab.cluster.records == []


def test_after_a_batch_that_is_too_large_each_record_goes_alone() -> None:
    large = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
    with Lab(Cluster(refuses={b"large": large})) as lab:
        (answer,) = lab.run(job(1, "a", "large"))
        assert answer.refused is not None
        assert answer.refused.culprits == {0}
        lab.run(job(1, "a"))
        assert [made.get("batch.size") for made in lab.cluster.made] == [None, 1]


def test_that_kafka_lets_nobody_begin_is_told_and_tried_again() -> None:
    forbidden = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "no", True, False, False)
    with Lab(Cluster([("init", forbidden)])) as lab:
        lab.thread.submit([job(7, "a")])
        lab.thread.start()
        told = [lab.mailbox.take(PATIENCE) for _ in range(2)]
        assert [isinstance(one, letters.NoTransactions) for one in told] == [True, True]
        assert [getattr(one, "error", None) for one in told] == [forbidden, None]
        assert lab.answers(1)[0].refused is None


def test_an_open_transaction_is_aborted_at_the_end() -> None:
    lab = Lab(Cluster([("offsets", RETRIABLE)] * 100_000))
    lab.thread.submit([job(1, "a")])
    lab.thread.start()
    while "offsets" not in lab.cluster.calls:
        lab.thread.join(0.005)
    lab.thread.stop()
    lab.thread.join(PATIENCE)
    assert not lab.thread.is_alive()
    assert lab.cluster.calls[-2:] == ["abort", "purge"]
    assert lab.cluster.records == []


def _failures() -> st.SearchStrategy[list[tuple[str, KafkaError]]]:
    return st.lists(
        st.tuples(st.sampled_from(STEPS), st.sampled_from([RETRIABLE, ABORTABLE, STALE, FATAL, ODD])), max_size=6
    )


@settings(max_examples=60, deadline=None)
@given(failures=_failures(), sizes=st.lists(st.integers(0, 3), min_size=1, max_size=5))
def test_whatever_fails_all_of_a_round_is_visible_or_nothing(
    failures: list[tuple[str, KafkaError]], sizes: Sequence[int]
) -> None:
    cluster = Cluster([*failures])
    with Lab(cluster) as lab:
        jobs = [
            job(index + 1, *(f"{index}.{n}" for n in range(size)), partition=index)
            for index, size in enumerate(sizes)
        ]
        answers = lab.run(*jobs)
    assert sorted(one.tp for answer in answers for one in answer.jobs) == [one.tp for one in jobs]
    for answer in answers:
        values = [record.value for one in answer.jobs for record in one.records]
        visible = [value for value in values if value in cluster.records]
        placed = [one.tp in cluster.places for one in answer.jobs]
        assert visible in ([], values)
        assert len(set(placed)) == 1
        assert not values or placed[0] is bool(visible)
        if answer.refused is None:
            assert placed[0]
        else:
            # Visible all the same if the producer was lost after its commit: the consumer thread asks Kafka.
            assert not placed[0] or any(step == "committed" for step, _ in failures)
    assert len(cluster.records) == len(set(cluster.records))


@pytest.mark.parametrize("step", ["produce", "flush", "offsets", "commit"])
def test_whatever_the_binding_raises_the_thread_lives_and_answers(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Cluster, name: str) -> None:
        self.calls.append(name)
        if name == step and self.calls.count(name) == 1:
            raise SystemError("returned a result with an exception set")

    monkeypatch.setattr(Cluster, "step", broken)
    with Lab(Cluster()) as lab:
        (answer,) = lab.run(job(7, "a"))
        assert answer.refused is not None
        assert len(lab.run(job(7, "a"))) == 1
        assert lab.cluster.records == [b"a"]
        assert len(lab.cluster.made) in (1, 2)


def with_letters(made: Job, *values: str, topic: str = "dead") -> Job:
    """The job, with dead letters."""
    made.records = [*made.records, *(Outgoing(topic, None, value.encode(), -1, ()) for value in values)]
    made.dead_letters = len(values)
    return made


LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)
UNKNOWN = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)


def test_a_dead_letter_that_is_refused_is_told_apart_from_its_job() -> None:
    """It was alone in its batch, whatever the size of batches. And nothing waits for it, as for other refusals."""
    with Lab(Cluster(refuses={b"large": LARGE})) as lab:
        (answer,) = lab.run(job(1, "good"), with_letters(job(2, "a", partition=1), "large"))
        assert answer.refused is not None
        assert not answer.refused.culprits
        why = f"{LARGE.str()} (topic dead)"
        assert answer.refused.letters == {1: {1: RefusedLetter(why)}}
        (after,) = lab.run(job(1, "good"))
        assert after.refused is None
        # A new one: the sequence numbers of the old one are not the broker's any more.
        assert [made.get("batch.size") for made in lab.cluster.made] == [None, None]


def test_a_topic_of_dead_letters_that_is_gone_is_told_apart() -> None:
    with Lab(Cluster(refuses={b"lost": UNKNOWN})) as lab:
        (answer,) = lab.run(with_letters(job(1), "lost"))
        assert answer.refused is not None
        assert answer.refused.letters == {0: {0: RefusedLetter(f"{UNKNOWN.str()} (topic dead)", is_gone=True)}}


def test_of_dead_letters_in_one_batch_the_refused_one_is_known_when_each_goes_alone() -> None:
    with Lab(Cluster(refuses={b"large": LARGE})) as lab:
        (answer,) = lab.run(with_letters(job(1), "small"), with_letters(job(2, partition=1), "large"))
        assert answer.refused is not None
        assert answer.refused.culprits == {1}
        assert not answer.refused.letters
        (answer,) = lab.run(with_letters(job(1), "small"), with_letters(job(2, partition=1), "large"))
        assert answer.refused is not None
        assert (answer.refused.culprits, {*answer.refused.letters}) == (frozenset(), {1})
        assert lab.cluster.made[1]["batch.size"] == 1


def test_a_dead_letter_and_a_record_of_its_job_may_both_be_refused() -> None:
    with Lab(Cluster(refuses={b"large": LARGE, b"lost": UNKNOWN})) as lab:
        (answer,) = lab.run(with_letters(job(1, "lost"), "large"))
        assert answer.refused is not None
        assert answer.refused.culprits == {0}
        assert {*answer.refused.letters[0]} == {1}


def test_what_may_pass_is_no_refusal_of_a_dead_letter() -> None:
    for code in (KafkaError._MSG_TIMED_OUT, KafkaError.NOT_ENOUGH_REPLICAS, KafkaError._PURGE_QUEUE):
        with Lab(Cluster(refuses={b"late": KafkaError(code)})) as lab:
            (answer,) = lab.run(with_letters(job(1), "late"))
            assert answer.refused is not None
            assert (answer.refused.culprits, answer.refused.letters) == (frozenset(), {})
