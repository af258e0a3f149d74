"""The command line that the demo and the pipeline share."""

import argparse
import signal
import threading
from types import FrameType


def seconds_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--seconds``."""
    parser.add_argument("--seconds", metavar="N", type=_positive, help="of traffic; default: until Ctrl-C")


def stop_signals() -> threading.Event:
    """An event that Ctrl-C or SIGTERM sets; the second one raises ``KeyboardInterrupt``."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    return stop


def _positive(text: str) -> float:
    seconds = float(text)
    if not 0.0 < seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds")
    return seconds
