"""Mistakes about state, commits, signs of life, lanes, and exactly-once."""

from __future__ import annotations

from typing import Any

from sdk_python import _batch
from sdk_python._batch import Batch
from sdk_python._checkpoints import LeaseProgress
from sdk_python._commits import Commits
from sdk_python._life_signs import LifeSigns
from sdk_python._marks import Marks
from sdk_python._place import Place
from sdk_python._states import States
from sdk_python.protocol import lambda_pb2 as pb
from tests.clients.python.mutations.planting import caught_by, put, wrap


@caught_by("state-not-again", 53)
def _a_state_is_sent_for_ever() -> None:
    put(States, "accepted", lambda *_: None)


@caught_by("state-ahead", 53)
def _a_state_goes_with_any_checkpoint() -> None:
    def add_to(self: Any, entry: pb.CheckpointEntry) -> None:
        for _, state in self._waiting:
            entry.state = state

    put(States, "add_to", add_to)


@caught_by("state-too-large", 54)
def _any_state_is_taken() -> None:
    put(States, "check", lambda *_: None)


@caught_by("committed", 55)
def _accepted_is_committed() -> None:
    async def reach(*_: object) -> None:
        return

    put(Commits, "reach", reach)


@caught_by("progress", 56)
def _every_sign_of_life_is_sent() -> None:
    def make(old: Any) -> Any:
        def say(self: Any, text: str = "") -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            old(self, text)

        return say

    wrap(LifeSigns, "say", make)


@caught_by("progress-latest", 56)
def _only_the_first_sign_of_life_is_sent() -> None:
    def make(old: Any) -> Any:
        def say(self: Any, text: str = "") -> None:
            if self._timer is None:
                old(self, text)

        return say

    wrap(LifeSigns, "say", make)


@caught_by("lanes-beside", 57)
def _lanes_of_a_partition_wait_for_one_another() -> None:
    def overlaps(self: Place, other: Place) -> bool:
        return (self.topic, self.partition) == (other.topic, other.partition)

    put(Place, "overlaps", overlaps)


@caught_by("together", 58)
def _a_commit_takes_all_that_waits() -> None:
    def make(old: Any) -> Any:
        async def take(self: Any, number: int) -> Any:
            mark = await old(self, number)
            return mark and mark._replace(records=number)

        return take

    wrap(Marks, "take", make)


@caught_by("checkpoint-waits-for-held", 59)
def _a_checkpoint_passes_what_was_produced_before_it() -> None:
    put(LeaseProgress, "hand_over", lambda self, _: put(self, "outcomes", None))


@caught_by("together-awaited", 60)
def _held_is_a_failure() -> None:
    put(_batch, "_DONE", {_batch.WRITTEN})


@caught_by("sources", 61)
def _sources_are_left_out() -> None:
    def make(old: Any) -> Any:
        def request(self: Any, lease: str, places: Any) -> pb.ProduceRequest:
            made: pb.ProduceRequest = old(self, lease, places)
            made.ClearField("sources")
            return made

        return request

    wrap(Batch, "request", make)
