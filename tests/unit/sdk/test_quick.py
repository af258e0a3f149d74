"""The extension `_quick` against the same in Python, and what it does with objects that are not as they should be."""

import gc
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from sdk_python._native import SWITCH
from tests.unit.native.library import ROUNDS

if TYPE_CHECKING:
    from sdk_python import _quick as quick
else:
    quick = pytest.importorskip("sdk_python._quick")

LIVES = int(os.environ.get(ROUNDS, "300"))


def put(queue: Any, *arguments: object, **named: object) -> Any:
    return queue.put(*arguments, **named)


def seen(value: str) -> list[str]:
    """What is seen of the lives, with the extension switched on or off."""
    command = [sys.executable, "-m", "tests.unit.sdk.produced_life", str(LIVES)]
    environment = {**os.environ, SWITCH: value, "PYTHONHASHSEED": "0"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_lambda_sees_the_same_with_the_extension_and_without() -> None:
    (first, *lives), (other, *the_same) = seen("1"), seen("0")
    assert (first, other) == ("sdk_python._quick", "sdk_python._plain")
    assert len(lives) >= LIVES
    assert lives == the_same


class Source(quick.Source):
    def __init__(self) -> None:
        self.settled = False
        self.called: list[Any] = []
        self.topic = "t"
        self.values: list[Any] = []
        self.keys: list[Any] = []
        self.outcomes: list[Any] = []
        self.sources = None
        self.owner = self.counting = None


class Outcome(quick.Outcome):
    __slots__ = ()


class Queue(quick.Queue):
    def __init__(self) -> None:
        self._open = Source()
        self._open.owner = self.counting = quick.Counted()
        self._kind = Outcome
        self._usual_bytes = self._usual_records = 2**40

    def produce(self, *arguments: object, **named: object) -> object:
        return arguments, named


def test_a_usual_record_is_added_to_the_open_batch() -> None:
    queue = Queue()
    outcome = queue.put("t", "text", key=b"k")
    batch = queue._open
    assert (batch.values, batch.keys, batch.outcomes) == ([b"text"], [b"k"], [outcome])
    assert (batch.size, batch.keyed, queue._bytes, queue._records) == (37, True, 37, 1)
    assert (queue.counting.put, queue.counting.under_way) == (1, 1)
    assert (outcome.source, outcome.index, outcome.kept, outcome.call) == (batch, 0, None, None)


@pytest.mark.parametrize(
    ("where", "name", "odd"),
    [
        *(("queue", name, odd) for name in ("_open", "counting", "_kind") for odd in (None, 5, int)),
        *(("batch", "outcomes", odd) for odd in (None, (), 5)),
        *(("batch", "topic", odd) for odd in (None, b"t", 5)),
    ],
)
def test_whatever_is_not_as_usual_is_looked_at_in_python(where: str, name: str, odd: object) -> None:
    queue = Queue()
    setattr(queue if where == "queue" else queue._open, name, odd)
    assert put(queue, "t", b"v", headers=(), source=None) == (("t", b"v"), {"headers": (), "source": None})
    assert queue._records == 0


@pytest.mark.parametrize("name", ["values", "keys", "sources"])
def test_a_column_that_is_no_list_raises_and_crashes_nothing(name: str) -> None:
    queue = Queue()
    setattr(queue._open, name, 5)
    with pytest.raises(SystemError):
        queue.put("t", b"v")


def test_objects_that_were_never_filled_raise_and_crash_nothing() -> None:
    assert put(Queue.__new__(Queue), "t", b"v") == (("t", b"v"), {})
    outcome = Outcome()
    for call in (outcome.done, outcome.cancelled, outcome.exception, lambda: outcome.add_done_callback(print)):
        with pytest.raises(AttributeError):
            call()


def test_a_source_that_was_never_filled_takes_no_callback_and_crashes_nothing() -> None:
    outcome = Queue().put("t", b"v")
    unfilled: Any = Source.__new__(Source)
    outcome.source = unfilled
    with pytest.raises(AttributeError):
        outcome.add_done_callback(print)


def test_cycles_are_collected_and_nothing_is_leaked() -> None:
    class Noted(Source):
        ended = 0

        def __del__(self) -> None:
            Noted.ended += 1

    def cycle() -> None:
        queue = Queue()
        queue._open = Noted()
        queue._open.myself, queue._open.owner = queue, queue.counting
        for _ in range(100):
            queue.put("t", b"v").add_done_callback(lambda _: queue)

    for _ in range(10):
        cycle()
    gc.collect()
    assert Noted.ended == 10
