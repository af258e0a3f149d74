"""The lambda processes in the model test: their streams, and what is known of their health."""

from collections.abc import Iterator
from dataclasses import dataclass

from sidecar.partitions.processes import LEFT_KEPT_S, MAX_PENALTY_S, PENALTY_S, QUARANTINE_S
from sidecar.partitions.vocabulary import Lane, StreamId


@dataclass
class Line:
    """One `Serve` call. ``known``: the table has not been told, and has not decided, that it is over."""

    id: StreamId
    process: str
    known: bool = True
    lane: Lane | None = None
    fenced_until: float | None = None
    unwritten: int = 0

    @property
    def spare(self) -> bool:
        return self.known and self.lane is None and self.fenced_until is None


@dataclass
class Health:
    """Of one process."""

    since: float
    failures: int = 0
    penalised_until: float = -1.0
    quarantined_until: float = -1.0
    ending: bool = False


class Crowd:
    """All streams, and the processes behind them."""

    def __init__(self) -> None:
        self.lines: dict[StreamId, Line] = {}
        self.health: dict[str, Health] = {}
        self.ended: dict[str, float] = {}
        """Processes that said that they end, and until when that is known."""

    def open(self, process: str, now: float) -> Line:
        """A process offers one more stream."""
        line = Line(len(self.lines) + 1, process)
        self.lines[line.id] = line
        self.health.setdefault(process, Health(now, ending=self.ended.get(process, now) > now))
        return line

    def ends(self, process: str, now: float) -> None:
        """The process said that it ends."""
        self.health[process].ending = True
        self.ended[process] = now + LEFT_KEPT_S

    @property
    def known(self) -> list[Line]:
        return [line for line in self.lines.values() if line.known]

    def gone(self, line: Line) -> None:
        """The table does not know the stream any more."""
        line.known, line.lane, line.fenced_until = False, None, None
        if not any(other.process == line.process for other in self.known):
            del self.health[line.process]

    def failed(self, process: str, now: float, *, broke: bool = False) -> None:
        """A create failed there, or a stream ``broke``: it comes last for a time, doubled by creates in a row."""
        health = self.health[process]
        if broke:
            health.quarantined_until = now + QUARANTINE_S
        else:
            health.failures += 1
        penalty = min(MAX_PENALTY_S, PENALTY_S * 2.0 ** max(0, health.failures - 1))
        health.penalised_until = max(health.penalised_until, now + penalty)

    def held(self, process: str) -> int:
        """How many partitions are with it."""
        return sum(1 for line in self.known if line.process == process and line.lane is not None)

    def eligible(self, now: float) -> Iterator[Line]:
        """Streams that may be given a partition."""
        for line in self.known:
            health = self.health[line.process]
            if line.spare and health.quarantined_until <= now and not health.ending:
                yield line

    def rank(self, line: Line, now: float, handover_target: str = "") -> tuple[bool, bool, int]:
        """The handover_target comes first, and one that is ill last; else the one with the fewest."""
        return (
            line.process != handover_target,
            now < self.health[line.process].penalised_until,
            self.held(line.process),
        )

    def check_hand_over(self, giver: str, handover_target: str, now: float, minimum_stay: float) -> None:
        """It is healthy, has a spare stream, stayed for a while, has the fewest, and at least two less."""
        fit = {
            line.process
            for line in self.eligible(now)
            if now >= self.health[line.process].penalised_until
            and now - self.health[line.process].since >= minimum_stay
        }
        assert handover_target in fit
        assert self.held(handover_target) == min(map(self.held, fit))
        assert self.held(giver) - self.held(handover_target) >= 2
