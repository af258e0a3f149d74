"""One replay of a dead-letter topic, from taking it over to the last batch. It reads and writes Kafka."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic, sleep, time

from sidecar.dead_letters.clients import Cluster, DeadLettersError
from sidecar.dead_letters.contents import Contents
from sidecar.dead_letters.exported import Content, content_of
from sidecar.dead_letters.history import history_header, history_of
from sidecar.dead_letters.letter import Letter, Place, Stored, instant, source_time
from sidecar.dead_letters.marks import mark_records
from sidecar.dead_letters.plan import Step, batches, target
from sidecar.dead_letters.reading import Reader
from sidecar.dead_letters.replaying import BatchRefusedError, Outgoing, Replay


@dataclass(frozen=True, slots=True)
class Manner:
    """How letters are replayed."""

    to: str | None = None
    """The topic; None: each letter's source."""
    per_second: float | None = None
    """Records a second at most; None: as fast as Kafka takes them."""
    keep_timestamps: bool = False
    """Write the record's own timestamp. Otherwise it is the time of writing, so that retention leaves it alone."""
    history: bool = True
    """Add the header with the earlier failures."""
    changed: Callable[[Place], Content | None] = lambda _: None
    """What somebody made of a letter's record; None: it is as it was."""


class ReplayRun:
    """Replays the steps of one dead-letter topic. Its calls raise ``DeadLettersError``."""

    def __init__(self, cluster: Cluster, reader: Reader, known: Mapping[str, int], manner: Manner) -> None:
        """``known``: the number of partitions of all topics."""
        self._cluster = cluster
        self._reader = reader
        self._known = known
        self._manner = manner
        self.replayed = 0
        """Letters that were replayed so far, also after an error."""
        self.done_by_others = 0
        """Letters that another replay had done by the time at which this one took over."""

    def run(self, topic: str, steps: Sequence[Step], contents: Contents, advance: Callable[[int], None]) -> None:
        """Replay ``steps``, whose letters are all in ``topic``; ``contents`` is from what they were planned.

        ``advance`` is told of each batch, by its number of letters.
        """
        before = self.replayed
        # Without transactions, a part of a refused batch may be written. So its records are never sent together.
        for singly in (True,) if self._cluster.embedded else (False, True):
            try:
                self._attempt(topic, steps, contents, advance, done=self.replayed - before, singly=singly)
            except BatchRefusedError:
                if singly:
                    raise
            else:
                return

    def _attempt(
        self,
        topic: str,
        steps: Sequence[Step],
        contents: Contents,
        advance: Callable[[int], None],
        *,
        done: int,
        singly: bool,
    ) -> None:
        """Replay what is left of ``steps``, of which this run has ``done`` some before."""
        with Replay(self._cluster, topic, singly=singly) as replay:
            # Another replay may have done letters after we read the topic. From here on it cannot: we have fenced it,
            # and what it had committed is there to be read.
            self._catch_up(topic, contents)
            left = [step for step in steps if contents.is_open(step.letter)]
            by_others = len(steps) - len(left) - done
            self.done_by_others += by_others
            advance(by_others)
            began, sent = monotonic(), 0
            for batch in batches(left, self._manner.per_second):
                if self._manner.per_second is not None:
                    sleep(max(0.0, began + sent / self._manner.per_second - monotonic()))
                self._write(replay, batch)
                sent += len(batch)
                self.replayed += len(batch)
                advance(len(batch))

    def _catch_up(self, topic: str, contents: Contents) -> None:
        starts = {where: end for where, end in contents.ends.items() if where[0] == topic}
        # The embedded broker has no transactions, and its answer about the end of a log is too low.
        ends = {} if self._cluster.embedded else self._reader.ends([*starts])
        self._reader.read_on(contents, starts)
        for where, (_, end) in ends.items():
            if contents.ends[where] < end:
                raise DeadLettersError(
                    f"{where[0]}/{where[1]} ends in the open transaction of another program, which hides what was "
                    "replayed; start the command again when that transaction is over"
                )

    def _write(self, replay: Replay, batch: Sequence[Step]) -> None:
        stored = self._reader.fetch([step.letter for step in batch])
        now = instant(round(time() * 1000))
        records = [self._outgoing(step.letter, stored[step.letter.place], now) for step in batch]
        done = [place for step in batch for place in (step.letter.place, *step.duplicates)]
        replay.write(records, mark_records(done, now))

    def _outgoing(self, letter: Letter, stored: Stored, now: str) -> Outgoing:
        was = content_of(stored)
        changed = self._manner.changed(letter.place)
        content = was if changed is None else changed
        if self._manner.history:
            header = history_header(history_of(stored.headers), letter, content != was, now)
            content = content._replace(headers=(*content.headers, header))
        timestamp, kind = source_time(stored.headers)
        own = timestamp if self._manner.keep_timestamps and kind else None
        topic, partition = target(letter, self._manner.to, self._known)
        return Outgoing(letter.place, topic, partition, content, own or 0)
