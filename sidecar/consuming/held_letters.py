"""Dead letters of a lambda with exactly-once, from when they are made until their transaction is committed.

Owned by the consumer thread. A letter waits until the place of its lane is after its record, and is then written in
the transaction with that place. If Kafka refuses it there, all of the transaction is aborted, and to try it again
would abort the next one. So its lane halts at its record, as with at-least-once when a dead letter cannot be written.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from sidecar.mail.outgoing import Outgoing, RefusedLetter
from sidecar.partitions.assignment import Assignment
from sidecar.partitions.vocabulary import Lane

J = TypeVar("J", bound=Hashable)


class Held(NamedTuple):
    """A dead letter, and the record that it is for."""

    lane: Lane
    offset: int
    record: Outgoing


class HeldLetters:
    """The dead letters that are not written yet."""

    def __init__(self, look_anew: Callable[[], None]) -> None:
        """``look_anew``: look at the topics again before the next letter (`DeadLetters.look_anew`)."""
        self._look_anew = look_anew
        self._waiting: defaultdict[Lane, dict[int, Outgoing]] = defaultdict(dict)
        """By lane and offset: those that the lane's place has not passed."""
        self._looked_at: set[str] = set()
        """Topics that were gone, and were looked at anew since. No letter was written there meanwhile."""

    def hold(self, lane: Lane, offset: int, record: Outgoing) -> None:
        """Write this dead letter together with the first place that is after its record."""
        self._waiting[lane][offset] = record

    def take(self, partition: Assignment) -> list[Held]:
        """Those that the places of the partition's lanes have passed, of each lane in their order."""
        passed: list[Held] = []
        for lane, place in zip(partition.keys, partition.places, strict=True):
            waiting = self._waiting.get(lane, {})
            offsets = [offset for offset in sorted(waiting) if offset < place]
            passed += [Held(lane, offset, waiting.pop(offset)) for offset in offsets]
        return passed

    def drop(self, lanes: Iterable[Lane]) -> dict[Lane, list[int]]:
        """Forget what waits for these lanes. Returns the offsets: their records come again."""
        return {lane: [*self._waiting.pop(lane, {})] for lane in lanes}

    def written(self, held: Iterable[Held]) -> None:
        """The transaction with these is committed."""
        self._looked_at -= {one.record.topic for one in held}

    def refused(
        self, held: Mapping[J, Sequence[Held]], refusals: Mapping[J, Mapping[int, RefusedLetter]]
    ) -> tuple[dict[Lane, tuple[int, str]], set[J]]:
        """A transaction with these, by their job, was aborted.

        ``refusals``: of each job, by the number of the letter.

        Returns the first refused letter of each lane, its offset and why; and the jobs with a letter that is to be
        tried again: its topic is gone, and is made anew before. That is done once, as with at-least-once.
        """
        if any(held.values()):
            self._look_anew()
        first: dict[Lane, tuple[int, str]] = {}
        again: set[J] = set()
        gone: set[str] = set()
        for job, of_job in refusals.items():
            for number, refusal in sorted(of_job.items()):
                lane, offset, record = held[job][number]
                if not refusal.is_gone or record.topic in self._looked_at:
                    first.setdefault(lane, (offset, refusal.text))
                else:
                    again.add(job)
                if refusal.is_gone:
                    gone.add(record.topic)
        self._looked_at ^= gone  # whoever resumes the lane later has it looked at anew again
        return first, again
