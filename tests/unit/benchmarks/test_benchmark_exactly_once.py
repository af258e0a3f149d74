"""The clock of the row `exactly-once`, and what it refuses."""

from collections.abc import Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from benchmarks import exactly_once

Answer = Sequence[int] | KafkaException


class Admin:
    """Gives these answers about the group, one after the other."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = iter(answers)

    def list_consumer_group_offsets(self, _: object, *, request_timeout: float) -> dict[str, Future[Any]]:
        assert request_timeout > 0
        answer = next(self._answers)
        future: Future[Any] = Future()
        if isinstance(answer, KafkaException):
            future.set_exception(answer)
        else:
            places = [SimpleNamespace(offset=offset) for offset in answer]
            future.set_result(SimpleNamespace(topic_partitions=places))
        return {"group": future}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a place with an admin client's answers."""
    monkeypatch.setattr(exactly_once, "_LOOK_S", 0)

    def made(*answers: Answer) -> exactly_once._Place:
        monkeypatch.setattr(exactly_once, "AdminClient", lambda _: Admin(*answers))
        return exactly_once._Place("nowhere:1", "group")

    return made


def failure(code: int) -> KafkaException:
    return KafkaException(KafkaError(code))


def test_it_waits_for_the_group_and_for_its_places(place: Any) -> None:
    not_yet = [failure(code) for code in sorted(exactly_once._NOT_YET)]
    done, _ = place(*not_yet, [], [-1001, 4], [3, 4]).until(7, [])
    assert done == 7


def test_another_error_ends_the_run(place: Any) -> None:
    with pytest.raises(KafkaException):
        place(failure(KafkaError.GROUP_AUTHORIZATION_FAILED)).until(1, [])


def test_a_process_that_ended_ends_the_run(place: Any) -> None:
    with pytest.raises(RuntimeError, match="ended when 3 of 7"):
        place([3]).until(7, [SimpleNamespace(poll=lambda: 1)])


def test_a_run_whose_records_are_all_committed_at_once_has_no_figures(place: Any) -> None:
    with pytest.raises(RuntimeError, match="too few"):
        exactly_once._timed(place([8]), 8, [])


@pytest.mark.parametrize(
    ("numbers", "whole"),
    [([2, 0, 1], True), ([0, 1], False), ([0, 1, 1], False), ([0, 1, 2, 2], False), ([0, 1, 3], False)],
)
def test_the_output_is_the_copy_of_each_record_once(
    numbers: list[int], whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = exactly_once.values(4)
    stored = [SimpleNamespace(value=values[number]) for number in numbers]
    monkeypatch.setattr(exactly_once, "read_all", lambda *_: stored)
    if whole:
        exactly_once._must_be_each_once("nowhere:1", "copy", 3)
    else:
        with pytest.raises(RuntimeError, match=f"{len(numbers)} copies"):
            exactly_once._must_be_each_once("nowhere:1", "copy", 3)
