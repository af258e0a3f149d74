"""What keeps one lambda from working: each problem is said once when it begins and once when it ends.

Owned by the lambda's consumer thread; a picture of it goes to the loop with the lambda's status.
"""

from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from structlog.typing import FilteringBoundLogger

from sidecar.status import Problem


class Problems:
    """The problems that are there now, by kind.

    A kind is a stable word of ours (`connection`, `group`, `topics`, `commit:orders/3`): metrics have it as a label,
    and a problem of one kind takes the place of the former one of the same kind.
    """

    def __init__(self, log: FilteringBoundLogger, clock: Callable[[], float] = monotonic) -> None:
        self._log = log
        self._clock = clock
        self._known: dict[str, Problem] = {}
        self._meanings: dict[str, object] = {}

    def begin(
        self,
        kind: str,
        text: str,
        *,
        blocks: bool = True,
        meaning: object = None,
        event: str = "",
        level: str = "warning",
        **fields: object,
    ) -> None:
        """There is a problem, or there is still.

        Args:
            kind: which one. One that is there already keeps its time; it is logged again only if ``meaning`` differs.
            text: what people read: the thing, the cause and the remedy.
            blocks: nothing can be consumed meanwhile: the sidecar is not ready.
            meaning: what makes it another problem of the same kind, such as an error's code. The text alone does not:
                addresses and durations in it may change with each try.
            event: what the log line says, where that is not ``text``: the same words each time, with ``fields``.
            level: of the log line; `debug` for what is to be expected at first.
            fields: for the log line.
        """
        known = self._known.get(kind)
        if known is None:
            self._known[kind] = Problem(kind, text, self._clock(), blocks)
        else:
            self._known[kind] = replace(known, text=text, blocks=blocks)
        if known is None or self._meanings[kind] != meaning:
            self._meanings[kind] = meaning
            getattr(self._log, level)(event or text, problem=kind, **fields)

    def end(self, kind: str, event: str = "", *, level: str = "info", **fields: object) -> None:
        """The problem is over; ``event`` says so in the log. Does nothing where there is none."""
        known = self._known.pop(kind, None)
        if known is None:
            return
        del self._meanings[kind]
        seconds = round(self._clock() - known.since, 1)
        getattr(self._log, level)(event or f"over: {known.text}", problem=kind, seconds=seconds, **fields)

    def __contains__(self, kind: str) -> bool:
        """Whether a problem of this kind is there."""
        return kind in self._known

    @property
    def now(self) -> list[Problem]:
        """All of them, the oldest first."""
        return [*self._known.values()]

    @property
    def texts(self) -> list[str]:
        """What people read of them."""
        return [problem.text for problem in self._known.values()]

    @property
    def ready(self) -> bool:
        """Nothing keeps the lambda from consuming."""
        return not any(problem.blocks for problem in self._known.values())
