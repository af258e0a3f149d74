"""Where the picture goes: a terminal, or lines into a file or a pipe."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live

from examples.demo.events import Events
from examples.demo.picture import Snapshot, event_line, picture, plain_line


class View(Protocol):
    """Shows snapshots while it is entered."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, now: Snapshot) -> None:
        """Show what is now."""
        ...


def view(console: Console, events: Events) -> View:
    """What suits the console."""
    if console.is_terminal and not console.is_dumb_terminal:
        return _LiveView(console)
    return _Lines(console, events)


class _LiveView:
    """A picture that changes in its place."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, now: Snapshot) -> None:
        self._live.update(picture(now, self._console.width), refresh=True)


class _Lines:
    """A line a second, and one for each event."""

    def __init__(self, console: Console, events: Events) -> None:
        self._console = console
        self._events = events
        self._told = 0
        self._second = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""

    def show(self, now: Snapshot) -> None:
        fresh = self._events.begun - self._told
        # An event of several partitions is told when it has had the time to collect them.
        for event in [*self._events.latest][-fresh:] if fresh else []:
            if event.kind and now.seconds - event.at < 0.5:
                break
            self._told += 1
            self._say(event_line(event))
        if int(now.seconds) > self._second:
            self._second = int(now.seconds)
            self._say(plain_line(now))

    def _say(self, text: str) -> None:
        self._console.out(text, highlight=False)
