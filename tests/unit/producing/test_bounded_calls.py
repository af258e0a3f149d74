"""Calls that may never return."""

import threading
import weakref
from collections.abc import Iterator

import pytest

from sidecar.producing.bounded_calls import BoundedCalls

PATIENCE = 20.0


@pytest.fixture
def calls() -> Iterator[BoundedCalls]:
    made = BoundedCalls("calls")
    yield made
    made.end()


def test_a_call_is_made_and_waited_for(calls: BoundedCalls) -> None:
    made: list[tuple[int, str]] = []
    for number in range(3):
        calls.make(PATIENCE, lambda n, text: made.append((n, text)), number, "x")
        assert made == [(n, "x") for n in range(number + 1)]


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_what_it_raises_is_raised_and_the_next_call_is_made(calls: BoundedCalls, failure: BaseException) -> None:
    def fail() -> None:
        raise failure

    with pytest.raises(type(failure)) as raised:
        calls.make(PATIENCE, fail)
    assert raised.value is failure
    calls.make(PATIENCE, lambda: None)


def test_one_that_does_not_return_is_left_alone_with_its_thread(calls: BoundedCalls) -> None:
    let_go, ended = threading.Event(), threading.Event()

    def hang() -> None:
        assert let_go.wait(PATIENCE)
        ended.set()

    with pytest.raises(TimeoutError, match="hang within 0"):
        calls.make(0.05, hang)
    threads: list[str] = []
    calls.make(PATIENCE, lambda: threads.append(threading.current_thread().name))
    assert threads == ["calls"]
    let_go.set()
    assert ended.wait(PATIENCE)


def test_a_client_is_kept_no_longer_than_its_call(calls: BoundedCalls) -> None:
    """A client that is not closed is closed when the last reference to it goes."""

    class Client:
        def call(self) -> None:
            pass

    client = Client()
    gone = threading.Event()
    weakref.finalize(client, gone.set)
    calls.make(PATIENCE, client.call)
    del client
    assert gone.wait(PATIENCE)


def test_it_may_end_before_it_has_begun_and_begin_again() -> None:
    calls = BoundedCalls("calls")
    calls.end()
    calls.make(PATIENCE, lambda: None)
    calls.end()
    calls.make(PATIENCE, lambda: None)
    calls.end()
