"""``python -m tests.chaos.soak``: constant traffic, a fault a minute, and sidecars whose resources must not grow.

Lambda processes and one sidecar are killed, the other sidecars never. From minute 5 on their memory, descriptors and
threads must not grow: the median of the last fifth is compared with that of the first. At the end the checks of the
chaos runs follow.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tests.chaos import schedule
from tests.chaos.__main__ import carry_through, say
from tests.chaos.runner import Run
from tests.chaos.world import Options, World

INTERVAL_S = 10.0
"""Seconds between two samples."""
WARM_UP_S = 300.0
"""Seconds until a process has allocated all that it needs."""
TOLERANCE = 0.05
PROTECTED = ("a", "b")
"""Sidecars that are never disturbed; `c` is killed."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The resources of a process at a time."""

    at: float
    """Seconds since the start."""
    rss: int
    """KiB."""
    fds: int
    threads: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One resource of one process, at the beginning and at the end."""

    process: str
    measure: str
    first: float
    last: float
    flat: bool


def sample(pid: int, at: float) -> Sample:
    """Read the resources from the kernel. Raises ``OSError`` when there is no such process."""
    proc = Path("/proc") / str(pid)
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
    return Sample(at, int(status["VmRSS"].split()[0]), len([*(proc / "fd").iterdir()]), int(status["Threads"]))


def judge(process: str, samples: Sequence[Sample], warm: float = WARM_UP_S) -> list[Verdict]:
    """Compare the first fifth of the samples after ``warm`` seconds with the last fifth. Pure.

    Memory may grow by the share `TOLERANCE`; descriptors and threads only by one, which a call may hold for a moment.
    Raises ``ValueError`` when there are not enough samples.
    """
    later = [one for one in samples if one.at >= warm]
    if len(later) < 5:
        raise ValueError(f"{process}: {len(later)} samples after {warm:g} s are too few: run for longer")
    fifth = max(1, len(later) // 5)
    found = []
    for measure, allowed in (("rss", TOLERANCE), ("fds", 0.0), ("threads", 0.0)):
        first, last = (median(getattr(one, measure) for one in part) for part in (later[:fifth], later[-fifth:]))
        most = first * (1 + allowed) + (0 if allowed else 1)
        found.append(Verdict(process, measure, first, last, last <= most))
    return found


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a table for people."""
    rows = [f"{'process':10} {'measure':8} {'first':>10} {'last':>10} {'change':>8}"]
    for one in verdicts:
        change = (one.last - one.first) / one.first if one.first else 0.0
        said = "" if one.flat else "  GROWS"
        rows.append(f"{one.process:10} {one.measure:8} {one.first:10.0f} {one.last:10.0f} {change:8.1%}{said}")
    return "\n".join(rows)


class Sampler:
    """Samples the sidecars that are never killed, every `INTERVAL_S` seconds."""

    def __init__(self) -> None:
        self.samples: dict[str, list[Sample]] = {}
        self._began = time.monotonic()
        self._due = 0.0

    def __call__(self, world: World) -> None:
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + INTERVAL_S
        for slot, pid in pids(world).items():
            self.samples.setdefault(f"sidecar {slot}", []).append(sample(pid, now - self._began))


def pids(world: World) -> Mapping[str, int]:
    """The process ids of the protected sidecars' commands, not of their guards."""
    found: dict[str, int] = {}
    for slot, sidecar in world.sidecars():
        if slot in PROTECTED:
            guard = sidecar._process.pid
            children = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
            if children:
                found[slot] = int(children[0])
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    parser = argparse.ArgumentParser("python -m tests.chaos.soak", description=(__doc__ or "").split("\n\n", 1)[1])
    parser.add_argument("--minutes", type=float, default=30.0, metavar="M", help="default %(default)g; more than 5")
    parser.add_argument(
        "--rate", type=float, default=200.0, metavar="R", help="records a second; default %(default)g"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the schedule; default %(default)s")
    parser.add_argument("--output", type=Path, default=Path(".chaos/soak.json"), help="default %(default)s")
    parser.add_argument("--warm", type=float, default=WARM_UP_S, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.minutes * 60 < options.warm + 5 * INTERVAL_S:
        parser.error(f"--minutes: what comes after minute {options.warm / 60:g} is judged, so it must be longer")
    faults = max(1, round(options.minutes))
    plan = schedule.make(
        options.seed, faults, pause=options.minutes * 60 / faults, weights=schedule.SOAK, protected=PROTECTED
    )
    folder = Path(".chaos").resolve() / f"soak-{options.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    say(f"seed {options.seed}: {options.minutes:g} minutes, {faults} faults; histories in {folder}")
    run = Run(folder, plan, Options(schedule.PARTITIONS), options.rate, say)
    sampler = Sampler()
    code = carry_through(run, keep=False, every_tick=sampler, until=options.minutes * 60)
    if code == 130:
        return code
    verdicts = [
        verdict for name, several in sampler.samples.items() for verdict in judge(name, several, options.warm)
    ]
    options.output.parent.mkdir(exist_ok=True, parents=True)
    samples = {name: [asdict(one) for one in several] for name, several in sampler.samples.items()}
    result = {"seed": options.seed, "minutes": options.minutes, "rate": options.rate, "samples": samples}
    options.output.write_text(json.dumps({**result, "verdicts": [asdict(one) for one in verdicts]}, indent=1))
    say(f"{table(verdicts)}\nsamples: {options.output}")
    return code or int(not all(one.flat for one in verdicts))


if __name__ == "__main__":
    sys.exit(main())
