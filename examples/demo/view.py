"""Where the picture goes: a terminal, or lines into a file or a pipe."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live

from examples.demo.events import Events
from examples.demo.pieces import event_line


class Shown(Protocol):
    """What is now."""

    @property
    def seconds(self) -> float:
        """Since the start."""
        ...

    def picture(self, width: int, height: int) -> RenderableType:
        """For a terminal of this size."""
        ...

    def lines(self) -> list[str]:
        """For an output that is none."""
        ...


class View(Protocol):
    """Shows what is now while it is entered."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, now: Shown) -> None:
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

    def show(self, now: Shown) -> None:
        self._live.update(now.picture(self._console.width, self._console.height), refresh=True)


class _Lines:
    """Some lines a second, and one for each event."""

    def __init__(self, console: Console, events: Events) -> None:
        self._console = console
        self._events = events
        self._told = 0
        self._second = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""

    def show(self, now: Shown) -> None:
        fresh = self._events.begun - self._told
        # An event of several partitions is told when it has had the time to collect them.
        for event in [*self._events.latest][-fresh:] if fresh else []:
            if event.kind and now.seconds - event.at < 0.5:
                break
            self._told += 1
            self._say(event_line(event))
        if int(now.seconds) > self._second:
            self._second = int(now.seconds)
            for line in now.lines():
                self._say(line)

    def _say(self, text: str) -> None:
        self._console.out(text, highlight=False)
