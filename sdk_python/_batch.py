"""The records of one Produce call, as columns from the moment at which they are produced.

Owner: the event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Final, NamedTuple, TypeVar, cast

from ._errors import ProduceError, ProduceFailure
from ._outcome import Outcome, Source, outcome_of
from ._outcomes import Outcomes
from ._record import WireHeaders
from .protocol import lambda_pb2 as pb
from .protocol.names import name_of

T = TypeVar("T")


class Produced(NamedTuple):
    """Where a record was written. With the guarantee exactly-once it mostly says that the record is held."""

    topic: str
    partition: int
    """-1: it is held, and where it will be is not known yet."""
    offset: int
    """-1: likewise."""


WRITTEN: Final = pb.PRODUCE_OUTCOME_WRITTEN
STALE: Final = pb.PRODUCE_OUTCOME_STALE_LEASE
_DONE: Final = frozenset({WRITTEN, pb.PRODUCE_OUTCOME_HELD})
_TOO_MUCH_HELD: Final = pb.PRODUCE_OUTCOME_TOO_MUCH_HELD
NOT_ALLOWED: Final = pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED

_KINDS: Final[dict[int, ProduceFailure]] = {
    STALE: "stale_lease",
    NOT_ALLOWED: "not_allowed",
    pb.PRODUCE_OUTCOME_TOO_LARGE: "too_large",
    _TOO_MUCH_HELD: "too_much_held",
}
_REMEDY: Final = "; call checkpoint more often: what a lambda produces is held until then"


class Batch(Source[Produced]):
    """Records that go in one call, and what became of them.

    Columns that few lambdas use (topics after the first, headers, partitions) begin with the first record that needs
    them.
    """

    __slots__ = (
        *("_errors", "_many", "_numbers", "_offsets", "_partitions", "_told", "before", "headers"),
        *("partitions", "topic_indexes", "topics"),
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, owner: Outcomes, topic: str, *, keeps_sources: bool = False
    ) -> None:
        """``keeps_sources``: it has the column `sources`."""
        super().__init__(loop)
        self.owner = owner
        """Counts the records, unless `counting` says otherwise."""
        self.topic = topic
        """Of the first record."""
        self.topics = {topic: 0}
        self.topic_indexes: list[int] | None = None
        self.values: list[bytes | None] = []
        self.keys: list[bytes | None] = []
        self.keyed = False
        """A record has a key."""
        self.is_wide = False
        """`fill` is needed for each record."""
        self.headers: list[WireHeaders] | None = None
        self.partitions: list[int] | None = None
        self.sources: list[int] | None = [] if keeps_sources else None
        """Offset of the message from which each record was made; -1: the lambda does not say."""
        self.size = 0
        self.outcomes: list[Outcome[Produced] | Outcome[list[Produced]]] = []
        """Of each record; those of one `produce_many` have one together. Emptied when they are known."""
        self.before = owner.put
        """How many records ``owner`` had counted before the first one."""
        self.counting: list[Outcomes] | None = None
        """Where each record counts; None: all of them count in ``owner``."""
        self._numbers: list[int] = []  # of each record among those that count there
        self._many: list[Many] = []
        self._partitions: Sequence[int] = ()
        self._offsets: Sequence[int] = ()
        self._errors: dict[int, ProduceError] = {}
        self._told: set[int] = set()

    def __len__(self) -> int:
        return len(self.values)

    # ------------------------------------------------------------------------------------------- before the call

    def knows(self, topic: object) -> bool:
        """Whether there is a record of this topic."""
        return isinstance(topic, str) and topic in self.topics

    def fill(self, topic: str, headers: WireHeaders, partition: int) -> None:
        """Fill the columns that few lambdas use, for the record that was just appended; -1: any partition."""
        before = len(self.values) - 1
        self.is_wide = True
        index = self.topics.setdefault(topic, len(self.topics))
        if self.topic_indexes is not None:
            self.topic_indexes.append(index)
        elif index:
            self.topic_indexes = [0] * before + [index]
        if self.headers is not None:
            self.headers.append(headers)
        elif headers:
            self.headers = [*repeat((), before), headers]
        if self.partitions is not None:
            self.partitions.append(partition)
        elif partition >= 0:
            self.partitions = [-1] * before + [partition]

    def count_in(self, outcomes: Outcomes, count: int = 1) -> None:
        """The last ``count`` records count there; they were just appended, and `Outcomes.put` includes them."""
        if self.counting is None:
            before = len(self.values) - count
            self.counting = [self.owner] * before
            self._numbers.extend(range(self.before + 1, self.before + 1 + before))
        if count == 1:  # twice as quick
            self.counting.append(outcomes)
            self._numbers.append(outcomes.put)
        else:
            self.counting.extend(repeat(outcomes, count))
            self._numbers.extend(range(outcomes.put - count + 1, outcomes.put + 1))

    def belongs_to(self, many: Many, first: int) -> None:
        """The records from the place ``first`` on are of this `produce_many`."""
        many.parts.append((self, first, len(self)))
        if self.settled:
            many.batch_is_known()
        else:
            self._many.append(many)

    def topic_of(self, place: int) -> str:
        """The topic of the record at this place."""
        return self.topic if self.topic_indexes is None else [*self.topics][self.topic_indexes[place]]

    def by_topic(self, places: Sequence[int]) -> list[list[int]]:
        """These places, apart by topic."""
        apart: dict[int, list[int]] = {}
        for place in places:
            apart.setdefault(0 if self.topic_indexes is None else self.topic_indexes[place], []).append(place)
        return [*apart.values()]

    def request(self, lease: str, places: Sequence[int]) -> pb.ProduceRequest:
        """The request with the records at these places. Columns that are all empty are left out."""
        values = self._column(self.values, places)
        request = pb.ProduceRequest(lease=lease, values=_filled(values), null_values=_nulls(values))
        if self.topic_indexes is None:
            request.topics.append(self.topic)
        else:
            indexes = self._column(self.topic_indexes, places)
            used = {index: place for place, index in enumerate(dict.fromkeys(indexes))}
            names = [*self.topics]
            request.topics.extend(names[index] for index in used)
            if len(used) > 1:
                request.topic_indexes.extend(map(used.__getitem__, indexes))
        if self.keyed:
            keys = self._column(self.keys, places)
            if keys.count(None) < len(keys):
                request.keys.extend(_filled(keys))
                request.null_keys.extend(_nulls(keys))
        if self.partitions is not None:
            partitions = self._column(self.partitions, places)
            if max(partitions) >= 0:
                request.partitions.extend(partitions)
        if self.sources is not None:
            sources = self._column(self.sources, places)
            if max(sources) >= 0:
                request.sources.extend(sources)
        if self.headers is not None:
            _add_headers(request, self._column(self.headers, places))
        return request

    def _column(self, column: list[T], places: Sequence[int]) -> list[T]:
        return column if len(places) == len(self) else [column[place] for place in places]

    # -------------------------------------------------------------------------------------------- after the call

    def answered(self, places: Sequence[int], response: pb.ProduceResponse) -> None:
        """Take the outcomes of the records at these places; the response has one for each."""
        if len(places) == len(self):
            self._partitions, self._offsets = response.partitions, response.offsets
        else:
            self._scatter(places, response)
        if {*response.outcomes} <= _DONE:
            return
        for at, (place, outcome) in enumerate(zip(places, response.outcomes, strict=True)):
            if outcome not in _DONE:
                text = response.errors[at] if response.errors else ""
                text = text or f"the sidecar's answer is {name_of(pb.ProduceOutcome, outcome)}"
                text += _REMEDY if outcome == _TOO_MUCH_HELD else ""
                self.fail(place, text, _KINDS.get(outcome, "failed"))

    def _scatter(self, places: Sequence[int], response: pb.ProduceResponse) -> None:
        """Take the answer for a part of the records."""
        if not isinstance(self._partitions, list) or not isinstance(self._offsets, list):
            self._partitions, self._offsets = [-1] * len(self), [-1] * len(self)
        for place, partition, offset in zip(places, response.partitions, response.offsets, strict=True):
            self._partitions[place], self._offsets[place] = partition, offset

    def fail(self, place: int, why: str, kind: ProduceFailure = "failed") -> None:
        """The record at this place was not written, or is not known to be."""
        self._errors.setdefault(place, ProduceError(why, self.topic_of(place), kind))

    def fail_all(self, places: Iterable[int], why: str, kind: ProduceFailure = "failed") -> None:
        """The same for several records."""
        for place in places:
            self.fail(place, why, kind)

    @property
    def failures(self) -> list[ProduceFailure]:
        """The kind of each failure so far."""
        return [error.kind for error in self._errors.values()]

    def tell_failures(self) -> None:
        """Tell of the records that have failed so far, before the outcomes of the others are known."""
        for place in sorted(self._errors.keys() - self._told):
            self._fail_outcome(place)
        self._told.update(self._errors)

    def settle_held(self) -> None:
        """Tell whoever waits that the records are held: here, until a transaction that is under way has ended.

        A record that fails after this is told as one whose failure nobody received, unless the code looks again.
        """
        if not self.settled:
            self._settle_all()

    def finish(self) -> None:
        """The outcome of each record is known: tell whoever waits, and whoever holds checkpoints back."""
        self.tell_failures()
        count = len(self)
        # An outcome that somebody keeps needs none of it.
        self.values, self.keys, self.headers, self.sources = [], [], None, None
        # An outcome that nobody holds has to be gone before `known_to` asks whether its failure was received.
        self.outcomes.clear()
        self._settle_all()
        if self.counting is None:
            self.owner.known_to(self.before + count, count)
            return
        last = dict(zip(self.counting, self._numbers, strict=True))
        for outcomes, so_many in Counter(self.counting).items():
            outcomes.known_to(last[outcomes], so_many)

    def _settle_all(self) -> None:
        self.settle()
        many, self._many = self._many, []
        while many:
            many.pop().batch_is_known()

    def _fail_outcome(self, place: int) -> None:
        error, outcome = self._errors[place], self.outcomes[place]
        owner, number = self.counted(place)
        if isinstance(outcome.source, Many):
            outcome.source.part_failed(outcome, owner, number, error)
            return
        receipt = self.receipt(place)
        outcome.kept = receipt
        if not receipt.done():  # the task that awaited it may have been cancelled
            receipt.set_exception(error)
        owner.failed(number, receipt, error)
        outcome.call_back()

    def result(self, index: int) -> Produced:
        """Where the record was written; before the answer that it is held."""
        if not self._offsets:
            return Produced(self.topic_of(index), -1, -1)
        return Produced(self.topic_of(index), self._partitions[index], self._offsets[index])

    def outcome_at(self, place: int) -> Produced | ProduceError:
        """Where the record was written, or why it was not."""
        return self._errors.get(place) or self.result(place)

    def results(self, first: int, end: int) -> list[Produced | ProduceError]:
        """The same of several records."""
        if not self._errors and self.topic_indexes is None and self._offsets:
            where = zip(self._partitions[first:end], self._offsets[first:end], strict=True)
            return [Produced(self.topic, partition, offset) for partition, offset in where]
        return [self.outcome_at(place) for place in range(first, end)]

    def counted(self, index: int) -> tuple[Outcomes, int]:
        """The outcomes that the record counts in, and its number there."""
        if self.counting is None:
            return self.owner, self.before + 1 + index
        return self.counting[index], self._numbers[index]


class Refused(Source[Produced]):
    """A record that failed before it could go into a batch."""

    __slots__ = ("_owner",)

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Outcomes) -> None:
        super().__init__(loop)
        self._owner = owner
        self.settled = True

    def counted(self, index: int) -> tuple[Outcomes, int]:
        """The outcomes that the record counts in, and its number there."""
        del index
        return self._owner, self._owner.put


def refused(loop: asyncio.AbstractEventLoop, owner: Outcomes, error: ProduceError) -> Outcome[Produced]:
    """The outcome of a record that failed before it could go into a batch."""
    owner.refused()
    source = Refused(loop, owner)
    outcome = outcome_of(source, 0)
    receipt = outcome.kept = source.receipt(0)
    receipt.set_exception(error)
    owner.failed(owner.put, receipt, error)
    source.settle()
    return outcome


class Many(Source[list[Produced]]):
    """The records of one `produce_many`: in one batch, or in several."""

    __slots__ = ("_first_failure", "_is_whole", "_left", "_owner", "outcome", "parts")

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Outcomes) -> None:
        super().__init__(loop)
        self.parts: list[tuple[Batch, int, int] | ProduceError] = []
        """Places in batches; or the failure of a record that got into none."""
        self._owner = owner
        self._left = 0
        self._is_whole = False
        self._first_failure: tuple[Outcomes, int] | None = None

    def part_refused(self, outcome: Outcome[list[Produced]], error: ProduceError) -> None:
        """One record more, which failed before it could go into a batch."""
        self._owner.refused()
        self.parts.append(error)
        self.part_failed(outcome, self._owner, self._owner.put, error)

    def part_failed(
        self, outcome: Outcome[list[Produced]], owner: Outcomes, number: int, error: ProduceError
    ) -> None:
        """A record was not written. The outcome has the error when all are known."""
        if self._first_failure is None:
            self._first_failure = owner, number
        outcome.kept = receipt = self.receipt(0)
        receipt.of, receipt.number = self._first_failure
        if self.settled and not receipt.done():  # it was told that the records are held
            receipt.set_exception(error)
        owner.failed(number, receipt, error)

    def whole(self) -> None:
        """No record follows."""
        self._is_whole = True
        self._left += sum(isinstance(part, tuple) for part in self.parts)
        self._settle_if_known()

    def batch_is_known(self) -> None:
        """The outcomes of the records of one part are known."""
        self._left -= 1
        self._settle_if_known()

    def _settle_if_known(self) -> None:
        if self._left or not self._is_whole:
            return
        if self._first_failure is not None:
            results = self._results()
            error = next(result for result in results if isinstance(result, ProduceError))
            error.results = results
            receipt = self.receipt(0)
            if not receipt.done():
                receipt.set_exception(error)
        self.settle()

    def _results(self) -> list[Produced | ProduceError]:
        found: list[Produced | ProduceError] = []
        for part in self.parts:
            if isinstance(part, tuple):
                batch, first, end = part
                found += batch.results(first, end)
            else:
                found.append(part)
        return found

    def result(self, index: int) -> list[Produced]:
        """Where the records were written."""
        del index
        return cast("list[Produced]", self._results())

    def counted(self, index: int) -> tuple[Outcomes, int]:
        """The outcomes that the records count in, and the number of the first that failed, or of the last."""
        del index
        return self._first_failure or (self._owner, self._owner.put)


def refused_many(loop: asyncio.AbstractEventLoop, owner: Outcomes, error: ProduceError) -> Outcome[list[Produced]]:
    """The outcome of records that all failed before they could go into a batch."""
    many = Many(loop, owner)
    outcome = outcome_of(many, 0)
    many.part_refused(outcome, error)
    many.whole()
    return outcome


def _add_headers(request: pb.ProduceRequest, headers: Sequence[WireHeaders]) -> None:
    if not any(headers):
        return
    request.header_counts.extend(map(len, headers))
    pairs = [*chain.from_iterable(headers)]
    contents = [content for _, content in pairs]
    request.header_names.extend([name for name, _ in pairs])
    request.header_values.extend(_filled(contents))
    request.null_header_values.extend(_nulls(contents))


def _filled(column: Sequence[bytes | None]) -> Sequence[bytes]:
    return [entry or b"" for entry in column] if None in column else cast("Sequence[bytes]", column)


def _nulls(column: Sequence[bytes | None]) -> Sequence[int]:
    return [index for index, entry in enumerate(column) if entry is None] if None in column else ()
