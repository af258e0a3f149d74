"""The thread of dead letters, over clients that the test plays: what it looks at before, and what fails for good."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]  # public, but not marked so

from sidecar.mail.boxes import Mailbox
from sidecar.mail.letters import DeadLettered
from sidecar.partitions.vocabulary import DeadLetter, ErrorAction, Failure, Lane, TopicPartition
from sidecar.producing import dead_letters as module
from sidecar.producing.dead_letter_topic import may_write
from sidecar.producing.dead_letters import DeadLetters
from sidecar.records.records import Record

LANE = Lane(TopicPartition("orders", 0))
LETTER = DeadLetter(Failure(ErrorAction.CRITICAL, 42), 1, 0.0, 0.0)
PATIENCE = 20.0


class Lab:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, writes: bool) -> None:
        self.looks: list[str] = []
        self.may = True
        self.mailbox = Mailbox()
        self.thread = DeadLetters("l", "g", "dead", {}, self.mailbox, writes=writes)
        monkeypatch.setattr(module, "AdminClient", lambda *_, **__: None)
        monkeypatch.setattr(module, "Producer", lambda *_, **__: Broken())
        monkeypatch.setattr(module, "prepared", self._prepared)
        monkeypatch.setattr(module, "may_write", lambda *_: self.may)
        self.thread.start()

    def _prepared(self, _: Any, topic: str, *__: Any) -> int:
        self.looks.append(topic)
        return 1

    def write(self) -> DeadLettered:
        self.thread.write(LANE, Record(42, b"v", b"k", [], 1, 1), LETTER)
        letter = self.mailbox.take(PATIENCE)
        assert isinstance(letter, DeadLettered)
        return letter


class Broken:
    """A producer that failed for good while it was asked what became of its records."""

    def produce(self, *_: Any, **__: Any) -> None: ...

    def flush(self) -> None:
        raise KafkaException(KafkaError(KafkaError.CLUSTER_AUTHORIZATION_FAILED, "no idempotence", True))


def test_after_an_abort_the_topic_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch, writes=False)
    try:
        assert [lab.write().error, lab.write().error] == ["", ""]
        assert lab.looks == ["dead"]
        lab.thread.look_anew()
        lab.may = False
        answer = lab.write()
        assert (answer.error, answer.record) == ("Broker: Topic authorization failed (topic dead)", None)
        lab.may = True
        assert lab.write().record is not None
        assert lab.looks == ["dead"] * 3
    finally:
        lab.thread.stop()
        lab.thread.join(PATIENCE)


def test_a_producer_that_fails_for_good_is_an_answer_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(monkeypatch, writes=True)
    try:
        assert [lab.write().error for _ in range(2)] == ["no idempotence"] * 2
    finally:
        lab.thread.stop()
        lab.thread.join(PATIENCE)


@pytest.mark.parametrize(
    ("said", "may"),
    [([AclOperation.DESCRIBE], False), ([AclOperation.DESCRIBE, AclOperation.WRITE], True), ([], True), (None, True)],
)
def test_who_may_write(said: list[AclOperation] | None, may: bool) -> None:
    def describe_topics(*_: Any, **__: Any) -> dict[str, Any]:
        return {"dead": SimpleNamespace(result=lambda: SimpleNamespace(authorized_operations=said))}

    admin: Any = SimpleNamespace(describe_topics=describe_topics)
    assert may_write(admin, "dead") is may


def test_a_broker_that_does_not_say_forbids_nothing() -> None:
    def refused() -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    admin: Any = SimpleNamespace(describe_topics=lambda *_, **__: {"dead": SimpleNamespace(result=refused)})
    assert may_write(admin, "dead")
