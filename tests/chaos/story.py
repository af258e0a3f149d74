"""Small runs made by hand, without any breach. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tests.chaos.facts import Checkpointed, Commit, End, Facts, Failed, Generation, Handled, Lease, Life, Seek

WINDOW = 20
INTERVAL = 0.1


class Story:
    """Builds facts from events, each ``step`` seconds after the one before."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.step = 0.01
        self.leases: dict[str, Lease] = {}
        self.handled: list[Handled] = []
        self.checkpoints: list[Checkpointed] = []
        self.failures: list[Failed] = []
        self.commits: list[Commit] = []
        self.generations: list[Generation] = []
        self.seeks: list[Seek] = []
        self.lives: list[Life] = []
        self._position = 0

    def sidecar(self, client: str) -> None:
        """A sidecar starts."""
        self.lives.append(Life(client, client.partition("-")[0], self._tick()))

    def dies(self, client: str) -> None:
        """A sidecar ends."""
        end = self._tick()
        self.lives = [replace(one, end=end) if one.client == client else one for one in self.lives]

    def group(self, **owners: Iterable[int]) -> None:
        """A generation begins: partitions by client, whose `-` is written `_`."""
        of = {p: (f"{client}-member", client.replace("_", "-")) for client, many in owners.items() for p in many}
        self.generations.append(Generation(self._next(), self._tick(), len(self.generations) + 1, of))
        self.passes(0.5)

    def lease(self, name: str, partition: int, start: int) -> None:
        """A lambda is created, with the state of its start. Its name begins with its process: ``a1-1.3``."""
        process, slot = name.partition(".")[0], name[0]
        sought = any((one.partition, one.target) == (partition, start) for one in self.seeks)
        before = [one.offset for one in self.checkpoints if one.partition == partition and one.offset < start]
        state = "" if sought or not before else str(max(before))
        self.leases[name] = Lease(name, process, slot, partition, start, 1, self._tick(), state=state)

    def handles(self, name: str, first: int, last: int, *, every: int = 0, commit: bool = True) -> None:
        """A lambda handles these records. It checkpoints each ``every``-th, which is committed soon."""
        for offset in range(first, last + 1):
            self.handled.append(Handled(self._tick(), name, self.leases[name].partition, offset))
            if every and (offset + 1 - first) % every == 0:
                self.checkpoint(name, offset)
                if commit:
                    self.commit(self.leases[name].partition, offset + 1)

    def checkpoint(self, name: str, offset: int) -> None:
        """A lambda checkpoints."""
        self.checkpoints.append(Checkpointed(self._tick(), name, self.leases[name].partition, offset))

    def commit(self, partition: int, offset: int) -> None:
        """A commit is in Kafka."""
        self.commits.append(Commit(self._next(), self._tick(), partition, offset))

    def closes(self, name: str) -> None:
        """A lambda is closed."""
        self.leases[name] = replace(self.leases[name], closing=self._tick(), closed=self._tick())

    def fails(self, name: str, offset: int, *, critical: bool) -> None:
        """A lambda's handler fails."""
        self.failures.append(Failed(self._tick(), name, self.leases[name].partition, offset, critical))

    def seek(self, partition: int, target: int) -> None:
        """An operator seeks; the seek is committed before its answer."""
        self.passes(0.5)
        sent = self._tick()
        self.commit(partition, target)
        self.seeks.append(Seek(partition, target, sent, self._tick(), done=True))

    def passes(self, seconds: float) -> None:
        """Let time pass without events."""
        self.now += seconds

    def facts(self) -> Facts:
        """The facts. The handled records are all records, and the last commits are the partitions' ends."""
        everything = {(one.partition, one.offset) for one in self.handled}
        everything |= {(one.partition, one.offset) for one in self.failures}
        numbers = sorted({partition for partition, _ in everything})
        records = {number: tuple(sorted(o for p, o in everything if p == number)) for number in numbers}
        ends = {number: offsets[-1] + 1 for number, offsets in records.items()}
        return Facts(
            window=WINDOW,
            interval=INTERVAL,
            on_critical="halt",
            records=records,
            acknowledged=frozenset(everything),
            leases=tuple(self.leases.values()),
            handled=tuple(self.handled),
            checkpoints=tuple(self.checkpoints),
            failures=tuple(self.failures),
            commits=tuple(self.commits),
            generations=tuple(self.generations),
            seeks=tuple(self.seeks),
            lives=tuple(self.lives),
            end=End(committed=ends, ends=ends, group="Empty"),
        )

    def _tick(self) -> float:
        self.now += self.step
        return self.now

    def _next(self) -> int:
        self._position += 1
        return self._position


def takeovers() -> Facts:
    """A lambda process is killed in partition 1, and a sidecar in partition 0; then a seek in partition 0."""
    story = Story()
    story.sidecar("a-1")
    story.sidecar("b-1")
    story.group(a_1=[0, 1])
    story.lease("a1-1.1", 0, 0)
    story.lease("a1-1.2", 1, 0)
    story.handles("a1-1.1", 0, 29, every=10)
    story.handles("a1-1.2", 0, 39, every=10)
    # Records handled without a checkpoint; a checkpoint lost with its process. The same sidecar goes on.
    story.handles("a1-1.2", 40, 47)
    story.checkpoint("a1-1.2", 47)
    story.lease("a2-1.1", 1, 40)
    story.passes(0.5)
    story.handles("a2-1.1", 40, 99, every=6)
    # Two checkpoints are not committed when the sidecar dies.
    story.handles("a1-1.1", 30, 49, every=10, commit=False)
    story.handles("a1-1.1", 50, 58)
    story.dies("a-1")
    story.passes(3.0)
    story.group(b_1=[0, 1])
    story.lease("b1-1.1", 0, 30)
    story.lease("b1-1.2", 1, 100)
    story.passes(0.5)
    story.handles("b1-1.1", 30, 99, every=7)
    story.closes("b1-1.1")
    story.seek(0, 51)
    story.passes(0.5)
    story.lease("b1-1.3", 0, 51)
    story.handles("b1-1.3", 51, 120, every=7)
    # No fault for some time: every commit is in time.
    story.passes(20.0)
    story.step = 0.1
    story.handles("b1-1.2", 100, 159, every=10)
    story.passes(20.0)
    story.closes("b1-1.2")
    story.closes("b1-1.3")
    return story.facts()


def dead_letters() -> Facts:
    """Two records in a row fail critically and become dead letters, and so does the first one of all."""
    story = Story()
    story.sidecar("a-1")
    story.group(a_1=[0])
    story.lease("a1-1.1", 0, 0)
    story.fails("a1-1.1", 0, critical=True)
    story.closes("a1-1.1")
    story.commit(0, 1)
    story.lease("a1-1.2", 0, 1)
    story.handles("a1-1.2", 1, 9, every=9)
    story.fails("a1-1.2", 10, critical=True)
    story.closes("a1-1.2")
    story.lease("a1-1.3", 0, 10)
    story.fails("a1-1.3", 11, critical=True)
    story.closes("a1-1.3")
    story.commit(0, 12)
    story.lease("a1-1.4", 0, 12)
    story.handles("a1-1.4", 12, 19, every=8)
    return story.facts().but(on_critical="dead-letter", dead_letters=frozenset({(0, 0), (0, 10), (0, 11)}))
