"""`make pipeline`, or ``python -m examples.pipeline [--kafka HOST:PORT] [--mongo URL] [--recorded FOLDER]``.

Exit codes: 0 after Ctrl-C, the given seconds or the end of the recordings, with everything stored; 1 when something
failed, or when a number is missing, came twice with different contents, or is not stored exactly once; 2 for a wrong
command line.
"""

import argparse
import sys
from pathlib import Path

from examples.demo.command import seconds_argument, stop_signals

REMEDY = "run `make pipeline`, which installs what is needed, or: pip install '.[examples]'"


def main() -> int:
    """Run the pipeline; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.pipeline", description="deli and scriptorium at work, on real Kafka and a database."
    )
    parser.add_argument("--kafka", metavar="HOST:PORT", help="your own; default: one is started")
    parser.add_argument("--mongo", metavar="URL", help="your own MongoDB; default: FerretDB is started")
    parser.add_argument(
        "--recorded", metavar="FOLDER", type=Path, help="of NAME.rawdeltas.jsonl, in place of writers"
    )
    parser.add_argument("--keep", action="store_true", help="leave topics, groups and collection where they are")
    seconds_argument(parser)
    options = parser.parse_args()
    try:
        from rich.console import Console  # noqa: PLC0415 - what is missing is told in one sentence

        from examples.pipeline.session import Session  # noqa: PLC0415
    except ModuleNotFoundError as error:
        print(f"error: the Python package {error.name} is not installed: {REMEDY}", file=sys.stderr)
        return 1
    servers = (options.kafka, options.mongo)
    return Session(Console(), stop_signals(), options.seconds, servers, options.recorded, options.keep).run()


if __name__ == "__main__":
    sys.exit(main())
