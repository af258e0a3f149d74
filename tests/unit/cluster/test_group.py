"""A group's members and what each is assigned, from the bytes that its coordinator tells."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from hypothesis import given, strategies as st

from sidecar.cluster.committed import CommittedOffsets
from sidecar.cluster.group import UNKNOWN, assigned, described
from sidecar.cluster.inquiries import Inquiries
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from sidecar.mail.facts import GroupFacts
from sidecar.partitions.vocabulary import TopicPartition

TWO_OF_T = bytes.fromhex("0000 00000001 0001 74 00000002 00000000 00000001 00000000".replace(" ", ""))
"""As Kafka 4.3.1 told it: version 0, one topic, `t`, two partitions, 0 and 1, no user data."""


def encoded(partitions: dict[str, list[int]], version: int, after: bytes) -> bytes:
    made = version.to_bytes(2) + len(partitions).to_bytes(4)
    for topic, numbers in partitions.items():
        name = topic.encode()
        made += len(name).to_bytes(2) + name + len(numbers).to_bytes(4)
        made += b"".join(number.to_bytes(4) for number in numbers)
    return made + after


@given(
    st.dictionaries(st.text(max_size=5), st.lists(st.integers(0, 2**31 - 1), max_size=4), max_size=4),
    st.integers(0, 3),
    st.binary(max_size=5),
)
def test_an_assignment_is_read(partitions: dict[str, list[int]], version: int, after: bytes) -> None:
    every = {TopicPartition(topic, number) for topic, numbers in partitions.items() for number in numbers}
    assert assigned(encoded(partitions, version, after)) == every


def test_the_bytes_of_kafka_are_read() -> None:
    assert assigned(TWO_OF_T) == {TopicPartition("t", 0), TopicPartition("t", 1)}
    assert assigned(b"") == frozenset(), "as of a member that was assigned nothing"


@given(st.integers(1, len(TWO_OF_T) - 5))
def test_what_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="wanted"):
        assigned(TWO_OF_T[:size])


@given(st.binary(max_size=40))
def test_other_bytes_are_refused_or_are_partitions(data: bytes) -> None:
    try:
        found = assigned(data)
    except ValueError:
        return
    assert all(isinstance(tp, TopicPartition) for tp in found)


def group(name: str = "g", state: str = "Stable", error: object = None, **members: bytes | None) -> SimpleNamespace:
    listed = [SimpleNamespace(id=member, assignment=data) for member, data in members.items()]
    return SimpleNamespace(id=name, state=state, error=error, members=listed)


class PlayedAdmin:
    """Answers `list_groups`."""

    def __init__(self, answer: Sequence[object] | BaseException) -> None:
        self._answer = answer

    def list_groups(self, name: str, timeout: float) -> Sequence[object]:
        assert (name, timeout > 0) == ("g", True)
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer

    @property
    def as_admin(self) -> AdminClient:
        return cast("AdminClient", self)


OWNED = frozenset({TopicPartition("t", 0), TopicPartition("t", 1)})


@pytest.mark.parametrize(
    ("listed", "facts"),
    [
        ([group(a=TWO_OF_T, b=None)], GroupFacts(stable=True, members={"a": OWNED, "b": frozenset()})),
        ([group("h", a=b""), group(a=TWO_OF_T)], GroupFacts(stable=True, members={"a": OWNED})),
        ([group(state="PreparingRebalance", a=TWO_OF_T)], GroupFacts(stable=False, members={"a": OWNED})),
        ([group(a=TWO_OF_T, b=b"\0")], UNKNOWN),
        ([group(error=KafkaError(KafkaError.NOT_COORDINATOR, "moved"), a=TWO_OF_T)], UNKNOWN),
        ([], UNKNOWN),
    ],
    ids=["stable", "another group too", "rebalancing", "cannot be read", "an error", "not known"],
)
def test_a_group_is_described(listed: list[SimpleNamespace], facts: GroupFacts) -> None:
    assert described(PlayedAdmin(listed).as_admin, "g", 1.0) == facts


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ([group(a=TWO_OF_T)], GroupFacts(stable=True, members={"a": OWNED})),
        (KafkaException(KafkaError(KafkaError._TIMED_OUT, "late")), KafkaError._TIMED_OUT),
        (AttributeError("a later binding has no such call"), KafkaError._FAIL),
    ],
    ids=["described", "refused", "broken"],
)
def test_the_answer_is_a_letter_whatever_it_is(answer: Any, expected: GroupFacts | int) -> None:
    mailbox = Mailbox()
    asks = Inquiries(PlayedAdmin(answer).as_admin, cast("CommittedOffsets", None), "", mailbox)
    heard: list[GroupFacts | KafkaError] = []
    asks.group("g", heard.append)
    letter = mailbox.take(60.0)
    assert isinstance(letter, letters.Told)
    assert heard == [], "only in the thread that reads its letters"
    letter.then()
    [told] = heard
    assert (told.code() if isinstance(told, KafkaError) else told) == expected
