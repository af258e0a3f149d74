"""The output of the picture: a terminal, or lines in a file or a pipe."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live

from examples.demo.events import Events
from examples.demo.pieces import event_line


class Shown(Protocol):
    """The present state, as text."""

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        ...

    def picture(self, width: int, height: int) -> RenderableType:
        """The picture for a terminal of this size."""
        ...

    def lines(self) -> list[str]:
        """The lines for an output that is not a terminal."""
        ...


class View(Protocol):
    """Shows the present state while its context is entered."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, now: Shown) -> None:
        """Show the present state."""
        ...


def view(console: Console, events: Events) -> View:
    """The view that suits the console."""
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
    """Some lines per second, and one for each event."""

    def __init__(self, console: Console, events: Events) -> None:
        self._console = console
        self._events = events
        self._told = 0
        self._second = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to restore."""

    def show(self, now: Shown) -> None:
        fresh = self._events.begun - self._told
        # An event of several partitions is shown when it has had time to collect them.
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
