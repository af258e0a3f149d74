"""``python -m tests.chaos.exactly_once``: runs the crash matrix of exactly-once."""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from tests.chaos.exactly_once import faults
from tests.chaos.exactly_once.matrix import LANGUAGES, PROTOCOL, Matrix
from tests.clients import languages

CHECK_EACH = 10
"""Faults after which there must be progress."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        "python -m tests.chaos.exactly_once",
        description="Copy a topic with exactly-once under faults, and check what a read_committed reader finds.",
        epilog="exit codes: 0 each copy was there once and in order, 1 not, 2 wrong usage",
    )
    add = made.add_argument
    add("--faults", type=int, default=50, metavar="N", help="how many; default %(default)s")
    add("--seed", type=int, metavar="N", help="of the faults; default: a new one, which is shown")
    add("--lanes", type=int, default=1, metavar="N", help="of each partition; default %(default)s")
    add(
        "--languages",
        default=f"{PROTOCOL},python",
        metavar="A,B",
        help=f"of the copiers, each start takes the next: {', '.join(LANGUAGES)}, or all; default %(default)s",
    )
    add("--brokers", type=int, default=3, metavar="N", help="only in a cluster are some killed; default %(default)s")
    add("--keep", type=Path, metavar="DIR", help="keep the logs there, whatever comes out")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    options = parser().parse_args(arguments)
    spoken = LANGUAGES if options.languages == "all" else tuple(options.languages.split(","))
    if {*spoken} - {*LANGUAGES}:
        parser().error(f"--languages: none but {', '.join(LANGUAGES)}, or all")
    lacking = languages.missing([one for one in spoken if one != PROTOCOL], "copier")
    if lacking is not None:
        parser().error(f"--languages: {lacking}")
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    folder = options.keep or Path(".chaos") / f"exactly-once-{seed}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder.mkdir(parents=True)
    print(f"seed {seed}: {options.faults} faults; logs in {folder}", flush=True)
    plan = faults.make(seed, options.faults, brokers=options.brokers)
    matrix = Matrix(folder.resolve(), seed, brokers=options.brokers, lanes=options.lanes, spoken=spoken)
    try:
        run(matrix, plan, folder)
    except AssertionError as breach:
        print(f"BREACH {breach}\nseed {seed}; logs: {folder}", flush=True)
        return 1
    if options.keep is None:
        shutil.rmtree(folder)
    return 0


def run(matrix: Matrix, plan: list[faults.Fault], folder: Path) -> None:
    """Make the faults. Raises ``AssertionError`` if a copy is wrong, or there is no progress."""
    done: Counter[str] = Counter()
    began = time.monotonic()
    with matrix, (folder / "faults.jsonl").open("w", buffering=1) as journal:
        for number, fault in enumerate(plan, 1):
            time.sleep(fault.pause)
            begun = time.time()
            happened = matrix.make(fault)
            journal.write(json.dumps({"wall": begun, "until": time.time(), "fault": str(fault), "made": happened}))
            journal.write("\n")
            done[f"{fault.kind} {fault.api.name.lower()}" if "request" in fault.kind else fault.kind] += happened
            print(f"{number}: {fault}" + ("" if happened else ": no such request came"), flush=True)
            if number % CHECK_EACH == 0:
                copied = sum(matrix.progress().values())
                print(f"   {copied} copies, each once and in order; {time.monotonic() - began:.0f} s", flush=True)
        records = matrix.finish()
        for kind, count in sorted(done.items()):
            print(f"  {kind:40} {count:5}")
        print("  requests: " + ", ".join(f"{name} {count}" for name, count in matrix.requests().items()))
        print(f"{done.total()} faults: all {records} records were copied once, in order", flush=True)


if __name__ == "__main__":
    sys.exit(main())
