"""The pieces of several pictures: they make text of numbers. They start and query nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from examples.demo.events import Event, Tone
from sdk_python.protocol import admin_pb2 as pb

WIDE = 100
"""From this width on, more is shown."""

STATES = {
    "running": "green",
    "starting": "cyan",
    "halted": "bold red",
    "draining": "cyan",
    "paused": "bold yellow",
}
_BARS = "▁▂▃▄▅▆▇█"
_TONES: dict[Tone, str] = {"good": "green", "bad": "red", "plain": ""}
_STANDING_STILL = (
    pb.PARTITION_STATE_WAITING,
    pb.PARTITION_STATE_BACKING_OFF,
    pb.PARTITION_STATE_HALTED,
    pb.PARTITION_STATE_PAUSED,
)


@dataclass(frozen=True)
class Flow:
    """Messages that pass one point."""

    total: int = 0
    rate: float = 0.0
    history: Sequence[float] = ()
    """The rate of each second, the latest last."""


def title(name: str, route: str, phase: str, seconds: float, width: int) -> Text:
    """The first line; the route gets the room between the name and the clock."""
    right = Text.assemble((phase, "yellow"), f"  {clock(seconds)} ")
    left = Text.assemble((f" {name}", "bold"), f"   {route}")
    left.truncate(max(0, width - len(right) - 1), overflow="ellipsis", pad=True)
    return left.append(" ").append_text(right)


def flow_lines(flows: Sequence[tuple[str, Flow]], width: int, ended: bool) -> Table:
    """A line for each: rate, total, and the rates of the last seconds."""
    lines = Table.grid(padding=(0, 2))
    lines.add_column(width=11)
    lines.add_column(justify="right", width=7)
    lines.add_column(justify="right", width=10)
    lines.add_column(no_wrap=True)
    for name, flow in flows:
        shown = "" if ended else f"{flow.rate:,.0f}/s"
        lines.add_row(
            f" {name}", Text(shown, "bold"), f"{flow.total:,}", Text(bars(flow.history, width - 42), "cyan")
        )
    return lines


def partition_table(partitions: Sequence[pb.Partition], width: int) -> Table:
    """A line for each partition."""
    lines = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    lines.add_column(" PARTITION", justify="right")
    lines.add_column("STATE", min_width=11)
    numbers = ["HANDLED", "CHECKPOINT", "COMMITTED", "END", "LAG"]
    for name in [*numbers, *(["OUTSTANDING", "ATTEMPT"] if width >= WIDE else [])]:
        lines.add_column(name, justify="right", min_width=7)
    for one in partitions:
        offsets = [number(one, name) for name in ("handled", "checkpoint", "committed", "end")]
        behind = lag(one)
        lag_text = "-" if behind is None else f"{behind:,}"
        row: list[RenderableType] = [Text(state(one), STATES.get(state(one), "yellow")), *offsets, lag_text]
        if width >= WIDE:
            row += [f"{one.outstanding:,}", f"{one.attempt}"]
        lines.add_row(f"{one.partition}", *row)
    return lines


def reasons(partitions: Sequence[pb.Partition]) -> dict[str, list[int]]:
    """Why partitions are paused or halted; a common reason is given once."""
    why: dict[str, list[int]] = {}
    for one in partitions:
        if one.reason and one.state in _STANDING_STILL:
            why.setdefault(f"{state(one)}: {one.reason}", []).append(one.partition)
    return why


def troubles(partitions: Sequence[pb.Partition], name: str = "") -> list[Text]:
    """The reasons as text to show."""
    return [
        Text(f" {name}{', '.join(map(str, numbers))} {text}", "red", no_wrap=True, overflow="ellipsis")
        for text, numbers in reasons(partitions).items()
    ]


def event_lines(events: Sequence[Event], room: int) -> list[Text]:
    """The last events, always in this many lines."""
    shown = [*events][-room:]
    lines = [Text(f" {event_line(one)}", _TONES[one.tone], no_wrap=True, overflow="ellipsis") for one in shown]
    return lines + [Text()] * (room - len(lines))


def event_line(event: Event) -> str:
    """An event with its time."""
    return f"{clock(event.at)}  {event}"


def state(one: pb.Partition) -> str:
    """`running`, `backing off`, ...; `released` when the sidecar no longer has it."""
    if one.state == pb.PARTITION_STATE_UNSPECIFIED:
        return "released"
    return pb.PartitionState.Name(one.state).removeprefix("PARTITION_STATE_").lower().replace("_", " ")


def number(one: pb.Partition, name: str) -> str:
    """One of the partition's offsets; a dash when it is unknown."""
    return f"{getattr(one, name):,}" if one.HasField(name) else "-"


def lag(one: pb.Partition) -> int | None:
    """Records that are written and not committed; None when unknown."""
    if not one.HasField("end"):
        return None
    return max(0, one.end - one.committed) if one.HasField("committed") else one.end


def lag_of(status: pb.Lambda) -> int:
    """The lag of all partitions."""
    return sum(lag(one) or 0 for one in status.partitions)


def running(status: pb.Lambda) -> int:
    """How many partitions run."""
    return sum(state(one) == "running" for one in status.partitions)


def pid_of(status: pb.Lambda) -> int:
    """The pid of the lambda process; 0 when there is none."""
    return next((one.pid for one in status.processes), 0)


def bars(history: Sequence[float], room: int) -> str:
    """A bar for each second, as many as fit; the highest value has the highest bar."""
    shown = [*history][-room:] if room > 0 else []
    top = max(shown, default=0.0)
    if top <= 0.0:
        return ""
    return "".join(_BARS[min(len(_BARS) - 1, int(value / top * len(_BARS)))] for value in shown)


def clock(seconds: float) -> str:
    """Minutes and seconds."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
