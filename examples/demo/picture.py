"""What the demo shows: numbers in, text out. Starts and asks nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from examples.demo.events import Event, Tone
from sdk_python.protocol import admin_pb2 as pb

EVENTS_SHOWN = 4
WIDE = 100
"""Columns from which more is shown."""

_BARS = "▁▂▃▄▅▆▇█"
_TONES: dict[Tone, str] = {"good": "green", "bad": "red", "plain": ""}
_STATES = {"running": "green", "starting": "cyan", "halted": "bold red", "draining": "cyan"}
_STANDING_STILL = (pb.PARTITION_STATE_WAITING, pb.PARTITION_STATE_BACKING_OFF, pb.PARTITION_STATE_HALTED)


@dataclass(frozen=True)
class Flow:
    """Messages that pass one point."""

    total: int = 0
    rate: float = 0.0
    history: Sequence[float] = ()
    """The rate of each second, the latest last."""


@dataclass(frozen=True)
class Snapshot:
    """All that is shown at one moment."""

    seconds: float
    phase: str
    """What is being waited for; empty: nothing, it runs."""
    ended: bool = False
    bootstrap_servers: str = ""
    produced: Flow = Flow()
    handled: Flow = Flow()
    again: int = 0
    process_ends: int = 0
    status: pb.Lambda = field(default_factory=pb.Lambda)
    events: Sequence[Event] = ()


@dataclass(frozen=True)
class Summary:
    """What is said at the end."""

    seconds: float
    """That there was traffic."""
    produced: int
    handled: int
    again: int
    committed: int
    last_word: bool
    """``committed`` is from after the last commit."""
    process_ends: int
    partition_restarts: int
    sensors: int
    readings: int
    log: Path

    @property
    def lag(self) -> int:
        """Produced and not committed."""
        return self.produced - self.committed


# --- the live picture -----------------------------------------------------------------------------------------------


def picture(now: Snapshot, width: int) -> RenderableType:
    """The whole picture, for a terminal of this width. It needs 80 columns and 23 lines with 4 partitions."""
    return Group(
        _title(now),
        Text(),
        _flows(now, width),
        Text(),
        _partitions(now.status.partitions, width),
        *_troubles(now.status.partitions),
        Text(),
        _process(now),
        _restarts(now),
        _hint(now),
        Text(),
        *_events(now.events),
    )


def _title(now: Snapshot) -> Table:
    line = Table.grid(expand=True)
    line.add_column(no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    name = Text.assemble((" kafka-sidecar demo", "bold"), f"   {_route(now)}")
    line.add_row(name, Text.assemble((now.phase, "yellow"), f"  {_clock(now.seconds)} "))
    return line


def _route(now: Snapshot) -> str:
    if not now.bootstrap_servers:
        return ""
    return f"{now.bootstrap_servers} > {', '.join(now.status.topics)} > {now.status.name}"


def _flows(now: Snapshot, width: int) -> Table:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(width=10)
    lines.add_column(justify="right", width=8)
    lines.add_column(justify="right", width=12)
    lines.add_column(no_wrap=True)
    room = width - 42
    for name, flow in ((" produced", now.produced), (" handled", now.handled)):
        shown = "" if now.ended else f"{flow.rate:,.0f}/s"
        lines.add_row(name, Text(shown, "bold"), f"{flow.total:,}", Text(bars(flow.history, room), "cyan"))
    return lines


def _partitions(partitions: Sequence[pb.Partition], width: int) -> Table:
    lines = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    lines.add_column(" PARTITION", justify="right")
    lines.add_column("STATE", min_width=11)
    numbers = ["HANDLED", "CHECKPOINT", "COMMITTED", "END", "LAG"]
    for name in [*numbers, *(["OUTSTANDING", "ATTEMPT"] if width >= WIDE else [])]:
        lines.add_column(name, justify="right", min_width=7)
    for one in partitions:
        offsets = [number(one, name) for name in ("handled", "checkpoint", "committed", "end")]
        row: list[RenderableType] = [Text(state(one), _STATES.get(state(one), "yellow")), *offsets, _lag_text(one)]
        if width >= WIDE:
            row += [f"{one.outstanding:,}", f"{one.attempt}"]
        lines.add_row(f"{one.partition}", *row)
    return lines


def _lag_text(one: pb.Partition) -> str:
    behind = lag(one)
    return "-" if behind is None else f"{behind:,}"


def _troubles(partitions: Sequence[pb.Partition]) -> list[Text]:
    """Why partitions stand still; once what several have in common."""
    why: dict[str, list[int]] = {}
    for one in partitions:
        if one.reason and one.state in _STANDING_STILL:
            why.setdefault(f"{state(one)}: {one.reason}", []).append(one.partition)
    return [
        Text(f" {', '.join(map(str, numbers))} {text}", "red", no_wrap=True, overflow="ellipsis")
        for text, numbers in why.items()
    ]


def _process(now: Snapshot) -> Text:
    text = Text(" lambda process  ", no_wrap=True, overflow="ellipsis")
    if now.ended:
        return text.append("ended")
    if not now.status.processes:
        return text.append("none: the sidecar keeps the place", "yellow")
    for one in now.status.processes:
        held = f"{one.partitions} partition{'' if one.partitions == 1 else 's'}"
        text.append(f"pid {one.pid}", "bold").append(f", instance {one.instance}, {held}")
    return text


def _restarts(now: Snapshot) -> Text:
    again = f"; {now.again:,} messages were handled twice" if now.again else ""
    return Text(f" restarts        {now.process_ends}{again}")


def _hint(now: Snapshot) -> Text:
    if now.ended:
        return Text("\n")
    pid = pid_of(now.status)
    text = Text(" try this        ", no_wrap=True, overflow="ellipsis")
    if pid:
        text.append(f"kill -9 {pid}", "bold").append(" in another terminal: it comes back, and goes on")
    else:
        text.append("wait a moment")
    return text.append("\n                 ").append("Ctrl-C", "bold").append(" here: drain, commit, and a summary")


def _events(events: Sequence[Event]) -> list[Text]:
    shown = [*events][-EVENTS_SHOWN:]
    lines = [Text(f" {event_line(one)}", _TONES[one.tone], no_wrap=True, overflow="ellipsis") for one in shown]
    return lines + [Text()] * (EVENTS_SHOWN - len(lines))


# --- lines ----------------------------------------------------------------------------------------------------------


def plain_line(now: Snapshot) -> str:
    """The same for an output that is no terminal: a line a second."""
    partitions = now.status.partitions
    behind = sum(lag(one) or 0 for one in partitions)
    running = sum(state(one) == "running" for one in partitions)
    return (
        f"{_clock(now.seconds)}  in {now.produced.rate:,.0f}/s  handled {now.handled.rate:,.0f}/s"
        f"  total {now.handled.total:,}  lag {behind:,}  running {running}/{len(partitions)}"
        f"  pid {pid_of(now.status) or '-'}{'  ' + now.phase if now.phase else ''}"
    )


def event_line(event: Event) -> str:
    """An event with its time."""
    return f"{_clock(event.at)}  {event}"


def summary_lines(end: Summary) -> list[str]:
    """What is said at the end."""
    mean = end.produced / end.seconds if end.seconds > 0 else 0.0
    numbers = [
        ("produced", end.produced, f"in {end.seconds:.1f} s: {mean:,.0f}/s on average"),
        ("handled", end.handled, _all_or_missing(end)),
        ("handled twice", end.again, "not checkpointed yet when the process was killed" if end.again else ""),
        ("committed", end.committed, "" if end.last_word else "as last heard: the broker was gone too soon"),
        ("lag at the end", end.lag, "the next start would go on there" if end.lag else ""),
        ("restarts", end.process_ends, f"of the lambda process, {end.partition_restarts:,} of partitions"),
        ("readings saved", end.readings, f"of {end.sensors} sensors, each counted once"),
    ]
    lines = [f"  {name:<14}  {value:>9,}  {note}".rstrip() for name, value, note in numbers]
    return ["Summary", *lines, f"  log of the sidecar: {end.log}"]


def _all_or_missing(end: Summary) -> str:
    missing = end.produced - end.handled
    return "all of them" if missing == 0 else f"{missing:,} not yet, when it was stopped"


def contradictions(end: Summary) -> list[str]:
    """What must not be, whenever the demo is stopped; empty: all is well."""
    found = []
    if end.readings != end.handled:
        found.append(f"{end.handled:,} messages were handled, but {end.readings:,} readings are counted")
    if end.committed > end.handled:
        found.append(f"{end.committed:,} messages are committed, but only {end.handled:,} were handled")
    if end.handled > end.produced:
        found.append(f"{end.handled:,} messages were handled, but only {end.produced:,} produced")
    return found


# --- pieces ---------------------------------------------------------------------------------------------------------


def state(one: pb.Partition) -> str:
    """`running`, `backing off`, ...; `released` when the sidecar no longer has it."""
    if one.state == pb.PARTITION_STATE_UNSPECIFIED:
        return "released"
    return pb.PartitionState.Name(one.state).removeprefix("PARTITION_STATE_").lower().replace("_", " ")


def number(one: pb.Partition, name: str) -> str:
    """One of the partition's offsets; a dash when it is not known."""
    return f"{getattr(one, name):,}" if one.HasField(name) else "-"


def lag(one: pb.Partition) -> int | None:
    """Written and not committed; None when not known."""
    if not (one.HasField("end") and one.HasField("committed")):
        return None
    return max(0, one.end - one.committed)


def pid_of(status: pb.Lambda) -> int:
    """Of the lambda process; 0 when there is none."""
    return next((one.pid for one in status.processes), 0)


def bars(history: Sequence[float], room: int) -> str:
    """A bar for each second, as many as there is room for; the highest is the highest of these."""
    shown = [*history][-room:] if room > 0 else []
    top = max(shown, default=0.0)
    if top <= 0.0:
        return ""
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * len(_BARS)))] for value in shown)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
