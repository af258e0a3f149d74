"""The picture of the demo: it makes text of numbers. It starts and queries nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from examples.demo.events import Event
from examples.demo.pieces import (
    Flow,
    clock,
    event_lines,
    flow_lines,
    lag_of,
    partition_table,
    pid_of,
    running,
    title,
    troubles,
)
from examples.demo.rows import Row, Rows, document_table, stream_line, stream_lines, window
from sdk_python.protocol import admin_pb2 as pb

EVENTS_SHOWN = 3
MOST_OF_STREAM = 20


@dataclass(frozen=True)
class Snapshot:
    """The data of one picture."""

    seconds: float
    phase: str
    """What the demo waits for; empty: it runs."""
    ended: bool = False
    bootstrap_servers: str = ""
    sent: Flow = field(default_factory=Flow)
    numbered: Flow = field(default_factory=Flow)
    process_ends: int = 0
    status: pb.Lambda = field(default_factory=pb.Lambda)
    rows: Rows = field(default_factory=Rows)
    events: Sequence[Event] = ()

    def picture(self, width: int, height: int) -> RenderableType:
        """The whole picture. It needs 80 columns and 23 lines with 4 partitions and 3 documents."""
        above: list[RenderableType] = [
            title("kafka-sidecar demo", self._route(), self.phase, self.seconds, width),
            flow_lines([("sent", self.sent), ("numbered", self.numbered)], width, self.ended),
            Text(),
            partition_table(self.status.partitions, width),
            *(reasons := troubles(self.status.partitions)),
            Text(),
            document_table(self.rows.documents, width),
            Text(),
        ]
        below = [self._process(), self._hint(), *event_lines(self.events, EVENTS_SHOWN)]
        used = 7 + len(self.status.partitions) + len(reasons) + len(self.rows.documents) + 2 + EVENTS_SHOWN + 1
        room = max(3, min(MOST_OF_STREAM, height - 1 - used))
        return Group(*above, *stream_lines(self.rows.latest, room), Text(), *below)

    def lines(self) -> list[str]:
        """The same for an output that is no terminal, every second."""
        first = (
            f"{clock(self.seconds)}  sent {self.sent.rate:,.0f}/s  numbered {self.numbered.rate:,.0f}/s"
            f"  total {self.numbered.total:,}  latency {self.rows.age:,.0f} ms  lag {lag_of(self.status):,}"
            f"  running {running(self.status)}/{len(self.status.partitions)}"
            f"  pid {pid_of(self.status) or '-'}{'  ' + self.phase if self.phase else ''}"
        )
        last = {one.document: one for one in self.rows.latest}
        documents = [_plain(row) for row in self.rows.documents if row.number]
        return [first, *documents, *(f"      {stream_line(one)}" for one in last.values())]

    def _route(self) -> str:
        if not self.bootstrap_servers:
            return ""
        return f"{', '.join(self.status.topics)} > {self.status.name} > deltas   {self.bootstrap_servers}"

    def _process(self) -> Text:
        text = Text(" process  ", no_wrap=True, overflow="ellipsis")
        pid = pid_of(self.status)
        if self.ended:
            text.append("ended")
        elif pid:
            text.append(f"pid {pid}", "bold")
        else:
            text.append("none: the sidecar keeps the place", "yellow")
        text.append(f", restarts {self.process_ends}, latency {self.rows.age:,.0f} ms; ")
        if self.rows.wrong:
            return text.append(f"numbers are WRONG: {self.rows.wrong[0]}", "bold red")
        again = f", {self.rows.again:,} came again" if self.rows.again else ""
        return text.append("no gap", "green").append(again)

    def _hint(self) -> Text:
        if self.ended:
            return Text()
        pid = pid_of(self.status)
        text = Text(" try this ", no_wrap=True, overflow="ellipsis")
        text.append(f"kill -9 {pid}" if pid else "wait a moment", "bold")
        if pid:
            text.append(": the next one goes on")
        return text.append("; ").append("Ctrl-C", "bold").append(": drain and summary")


def _plain(row: Row) -> str:
    text = window(row.words, row.at, 60).plain
    return f"      {row.name}  number {row.number:,}  minimum {row.minimum:,}  writers {row.writers}  {text}"


# --- the end --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """The text at the end."""

    seconds: float
    """Whether there was traffic."""
    produced: int
    """Records."""
    waiting: int
    """Sent operations without a number."""
    lag: int
    process_ends: int
    partition_restarts: int
    rows: Rows
    log: Path

    def lines(self) -> list[str]:
        """The whole text."""
        mean = self.rows.numbers / self.seconds if self.seconds > 0 else 0.0
        numbers = [
            ("records sent", self.produced, f"in {self.seconds:.1f} s"),
            ("numbers given", self.rows.numbers, f"{mean:,.0f}/s on average"),
            (
                "without one",
                self.waiting,
                "when it was stopped" if self.waiting else "all that was sent has its number",
            ),
            (
                "came again",
                self.rows.again,
                "after a restart, each with the content it had" if self.rows.again else "",
            ),
            ("refused", self.rows.refused, "their clients joined again" if self.rows.refused else ""),
            ("lag at the end", self.lag, "the next start would go on there" if self.lag else ""),
            ("restarts", self.process_ends, f"of the process, {self.partition_restarts:,} of partitions"),
        ]
        lines = [f"  {name:<14}  {value:>9,}  {note}".rstrip() for name, value, note in numbers]
        verdict = "WRONG" if self.rows.wrong else "without a gap"
        documents = [f"  {row.name:<14}  {row.number:>9,}  numbers, {verdict}" for row in self.rows.documents]
        return ["Summary", *lines, *documents, f"  log of the sidecar: {self.log}"]
