"""``python -m tests.chaos``: injects hundreds of faults and checks that nothing was lost or done wrongly."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import time
from pathlib import Path

from tests.chaos import checker, folder as folders, schedule
from tests.chaos.operating import can
from tests.chaos.runner import Outcome, Run, Tick
from tests.chaos.world import Options
from tests.clients.languages import LANGUAGES, missing

_EPILOG = """\
A seed decides which faults come, when, and to whom. What the machine does in between is never twice the same, so a
seed that failed once may pass the next time: the folder has what happened, and --replay checks it again.

exit codes: 0 all held, 1 a breach, 2 wrong usage, 130 interrupted

examples:
  python -m tests.chaos --faults 200
  python -m tests.chaos --seed 7 --faults 50 --keep /tmp/run
  python -m tests.chaos --replay .chaos/7-20260101-120000
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "python -m tests.chaos",
        description="Run several sidecars and lambda processes on one Kafka under faults, and check what was seen.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--faults", type=int, default=200, metavar="N", help="how many; default %(default)s")
    add("--seed", type=int, metavar="N", help="of the schedule; default: a new one, which is shown")
    add("--minutes", type=float, metavar="M", help="spread the faults over so long; default: about 1.5 s each")
    add("--rate", type=float, default=200.0, metavar="R", help="records a second; default %(default)s")
    add(
        "--languages",
        default="python",
        metavar="A,B",
        help=f"what the lambda processes are written in: {', '.join(LANGUAGES)}, or all; default %(default)s",
    )
    add("--lanes", type=int, default=1, metavar="N", help="of each partition, whose order is then by key; default 1")
    add("--dead-letter", action="store_true", help="`on_critical: dead-letter` instead of halt")
    add("--without", action="append", default=[], choices=[*schedule.WEIGHTS], help="leave out a kind of fault")
    add("--keep", type=Path, metavar="DIR", help="keep the histories there, whatever comes out")
    add("--replay", type=Path, metavar="DIR", help="only check the histories of an earlier run")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    options = parser().parse_args(arguments)
    if options.faults < 1:
        parser().error("--faults: at least 1")
    if options.replay is not None:
        return _replay(options.replay)
    spoken = _languages(options.languages)
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    folder = options.keep or Path(".chaos") / f"{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    if folder.exists() and any(folder.iterdir()):
        parser().error(f"--keep: {folder} is not empty")
    without = list(options.without)
    if "seek" not in without and not can("seek"):
        print("this version has no `kafka-sidecar seek`: no seeks", flush=True)
        without.append("seek")
    pause = options.minutes * 60 / options.faults if options.minutes else 1.5
    plan = schedule.make(seed, options.faults, pause=pause, without=without, processes=2 if len(spoken) > 1 else None)
    on_critical = "dead-letter" if options.dead_letter else "halt"
    print(f"seed {seed}: {options.faults} faults in about {plan.seconds:.0f} s; histories in {folder}", flush=True)
    world = Options(schedule.PARTITIONS, on_critical=on_critical, languages=spoken, lanes=options.lanes)
    run = Run(folder.resolve(), plan, world, options.rate, say)
    return carry_through(run, keep=options.keep is not None)


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, flush=True)


def carry_through(run: Run, *, keep: bool, every_tick: Tick = lambda _: None, until: float = 0.0) -> int:
    """Do the run, print its outcome, and keep or remove its folder. Returns the exit code."""
    try:
        outcome = run.go(every_tick, until)
    except KeyboardInterrupt:
        print(f"\ninterrupted; histories so far are in {run.folder}", flush=True)
        return 130
    except Exception as error:
        print(f"seed {run.schedule.seed}: the run itself failed: {error}\nhistories: {run.folder}", flush=True)
        raise
    finally:
        run.close()
    show(outcome)
    if outcome.breaches:
        print(f"seed {run.schedule.seed}: {len(outcome.breaches)} breaches; histories: {run.folder}")
        print(f"check them again with: python -m tests.chaos --replay {run.folder}")
        return 1
    if keep:
        print(f"histories: {run.folder}")
    else:
        shutil.rmtree(run.folder)
    return 0


def show(outcome: Outcome, most: int = 50) -> None:
    """Print the summary, with at most ``most`` breaches."""
    for kind, count in sorted(outcome.faults.items()):
        print(f"  {kind:20} {count:5}")
    print("  " + ", ".join(f"{name} {number}" for name, number in outcome.numbers.items()))
    for breach in outcome.breaches[:most]:
        print(f"BREACH {breach}")
    if not outcome.breaches:
        print(f"all of these held: {', '.join(checker.CHECKS)}")


def _languages(text: str) -> tuple[str, ...]:
    """The languages of ``--languages``, each of which can be started."""
    spoken = LANGUAGES if text == "all" else tuple(text.split(","))
    for one in spoken:
        if one not in LANGUAGES:
            parser().error(f"--languages: {one!r} is none of {', '.join(LANGUAGES)}")
    lacking = missing(spoken)
    if lacking is not None:
        parser().error(f"--languages: {lacking}")
    return spoken


def _replay(folder: Path) -> int:
    for name in ("run.json", "end.json"):
        if not (folder / name).exists():
            print(f"{folder} is no folder of a finished run: there is no {name}", file=sys.stderr)
            return 2
    breaches = checker.check(folders.load(folder))
    show(Outcome(breaches))
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
