"""The picture of the pipeline: it makes text of numbers. It starts and queries nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from examples.demo.events import Event
from examples.demo.pieces import (
    STATES,
    Flow,
    bars,
    clock,
    event_lines,
    lag_of,
    pid_of,
    reasons,
    running,
    state,
    title,
    troubles,
)
from examples.demo.rows import Rows, document_table
from sdk_python.protocol import admin_pb2 as pb

DOCUMENTS_SHOWN = 8
EVENTS_SHOWN = 5


@dataclass(frozen=True)
class Snapshot:
    """The data of one picture."""

    seconds: float
    phase: str
    ended: bool = False
    where: str = ""
    rawdeltas: Flow = field(default_factory=Flow)
    deli: Flow = field(default_factory=Flow)
    deltas: Flow = field(default_factory=Flow)
    stored: Flow = field(default_factory=Flow)
    away: str = ""
    """Why the database does not answer."""
    deli_status: pb.Lambda = field(default_factory=pb.Lambda)
    scriptorium_status: pb.Lambda = field(default_factory=pb.Lambda)
    rows: Rows = field(default_factory=Rows)
    events: Sequence[Event] = ()

    def picture(self, width: int, height: int) -> RenderableType:
        """The whole picture; the documents get the remaining lines."""
        reasons = [
            *troubles(self.deli_status.partitions, "deli "),
            *troubles(self.scriptorium_status.partitions, "scriptorium "),
        ]
        used = 1 + 1 + 6 + 1 + 2 + len(reasons) + 1 + 2 + 1 + EVENTS_SHOWN + 2
        room = max(3, min(DOCUMENTS_SHOWN, height - 1 - used))
        busiest = sorted(self.rows.documents, key=lambda row: -row.number)
        more = len(busiest) - room
        return Group(
            title("kafka-sidecar pipeline", self.where, self.phase, self.seconds, width),
            Text(),
            self._stages(width),
            Text(),
            *(_partitions(name, status) for name, status in self._lambdas()),
            *reasons,
            Text(),
            document_table(busiest[:room], width),
            Text(f" and {more} more documents" if more > 0 else "", "dim"),
            self._verdict(),
            self._hint(),
            *event_lines(self.events, EVENTS_SHOWN),
        )

    def lines(self) -> list[str]:
        """The same for an output that is no terminal, every second."""
        counts = "  ".join(f"{name} {running(one)}/{len(one.partitions)}" for name, one in self._lambdas())
        first = (
            f"{clock(self.seconds)}  rawdeltas {self.rawdeltas.rate:,.0f}/s  deli {self.deli.rate:,.0f}/s"
            f" lag {lag_of(self.deli_status):,}  deltas {self.deltas.rate:,.0f}/s"
            f"  scriptorium lag {lag_of(self.scriptorium_status):,}  stored {self.stored.rate:,.0f}/s,"
            f" {self.stored.total:,} of {self.deltas.total:,}  running {counts}"
            f"{'  ' + self.phase if self.phase else ''}"
        )
        why = [
            f"      {name} {', '.join(map(str, numbers))} {text}"
            for name, one in self._lambdas()
            for text, numbers in reasons(one.partitions).items()
        ]
        documents = "  ".join(f"{row.name} {row.number:,}" for row in self.rows.documents[:DOCUMENTS_SHOWN])
        return [first, *why, *([f"      {documents}"] if documents else [])]

    def _lambdas(self) -> list[tuple[str, pb.Lambda]]:
        return [("deli", self.deli_status), ("scriptorium", self.scriptorium_status)]

    def _stages(self, width: int) -> Table:
        lines = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        lines.add_column(" STAGE", min_width=13)
        for name in ("RATE", "TOTAL", "LAG"):
            lines.add_column(name, justify="right", min_width=8)
        lines.add_column("LAST SECONDS", no_wrap=True, overflow="ellipsis")
        for name, flow, lag in (
            ("rawdeltas", self.rawdeltas, ""),
            ("deli", self.deli, f"{lag_of(self.deli_status):,}"),
            ("deltas", self.deltas, ""),
            ("scriptorium", self.stored, f"{lag_of(self.scriptorium_status):,}"),
        ):
            shown = "" if self.ended else f"{flow.rate:,.0f}/s"
            history = Text(bars(flow.history, width - 49), "cyan")
            lines.add_row(f" {name}", Text(shown, "bold"), f"{flow.total:,}", lag, history)
        there = Text(f"away: {self.away}", "bold red") if self.away else Text("there", "green")
        there.truncate(max(5, width - 49), overflow="ellipsis")
        lines.add_row(" database", "", f"{self.stored.total:,}", "", there)
        return lines

    def _verdict(self) -> Text:
        if self.rows.wrong:
            return Text(f" numbers are WRONG: {self.rows.wrong[0]}", "bold red", no_wrap=True, overflow="ellipsis")
        again = f"; {self.rows.again:,} came again alike" if self.rows.again else ""
        return Text(f" numbers are without a gap{again}", "green")

    def _hint(self) -> Text:
        pid = pid_of(self.deli_status)
        if self.ended or not pid:
            return Text()
        line = Text(" try this: ", no_wrap=True, overflow="ellipsis").append(f"kill -9 {pid}", "bold")
        return line.append("; stop the database for a while; ").append("Ctrl-C", "bold").append(": drain and check")


def _partitions(name: str, status: pb.Lambda) -> Text:
    line = Text(f" {name:<13}", no_wrap=True, overflow="ellipsis")
    for one in status.partitions:
        line.append(f"{one.partition} ").append(f"{state(one):<9}", STATES.get(state(one), "yellow"))
    return line.append(f" pid {pid_of(status) or '-'}")


# --- the end --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """The text at the end."""

    seconds: float
    produced: int
    waiting: int
    stored: int
    process_ends: int
    partition_restarts: int
    rows: Rows
    log: Path

    def lines(self) -> list[str]:
        """The whole text."""
        mean = self.rows.numbers / self.seconds if self.seconds > 0 else 0.0
        numbers = [
            ("records sent", self.produced, f"in {self.seconds:.1f} s"),
            ("numbers given", self.rows.numbers, f"{mean:,.0f}/s on average, {len(self.rows.documents)} documents"),
            ("without one", self.waiting, "when it was stopped" if self.waiting else ""),
            (
                "came again",
                self.rows.again,
                "after a restart, each with the content it had" if self.rows.again else "",
            ),
            ("refused", self.rows.refused, ""),
            ("stored", self.stored, ""),
            ("restarts", self.process_ends, f"of processes, {self.partition_restarts:,} of partitions"),
        ]
        lines = [f"  {name:<14}  {value:>9,}  {note}".rstrip() for name, value, note in numbers]
        return ["Summary", *lines, f"  log of the sidecar: {self.log}"]
