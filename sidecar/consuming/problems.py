"""The problems of one lambda: each is logged once when it begins and once when it ends.

Owned by the lambda's consumer thread; a copy goes to the event loop with the lambda's status.
"""

from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from structlog.typing import FilteringBoundLogger

from sidecar.causes import Cause
from sidecar.status import Problem


class Problems:
    """The problems that exist now, by kind.

    A kind is a stable word of ours (`connection`, `group`, `topics`, `commit:orders/3`): it is a label of metrics,
    and a problem replaces an earlier one of the same kind.
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
        cause: Cause,
        blocks: bool = True,
        meaning: object = None,
        event: str = "",
        level: str = "warning",
        **fields: object,
    ) -> None:
        """A problem begins, or continues.

        Args:
            kind: its kind. A problem that exists already keeps its time, and is logged again only if ``meaning``
                differs.
            text: for people: the thing, the cause and the remedy.
            cause: which of the causes that the kind may have.
            blocks: nothing can be consumed meanwhile: the sidecar is not ready.
            meaning: tells two problems of the same kind apart, such as an error's code. The text cannot: addresses
            and durations in it may change with each attempt. event: the event of the log line, if not ``text``: the
            same words each time, with ``fields``. level: the level of the log line; `debug` for problems that are
            expected at first. fields: the fields of the log line.
        """
        known = self._known.get(kind)
        if known is None:
            self._known[kind] = Problem(kind, text, self._clock(), blocks, cause)
        else:
            self._known[kind] = replace(known, text=text, blocks=blocks, cause=cause)
        if known is None or self._meanings[kind] != meaning:
            self._meanings[kind] = meaning
            getattr(self._log, level)(event or text, problem=kind, **fields)

    def end(self, kind: str, event: str = "", *, level: str = "info", **fields: object) -> None:
        """The problem is over; ``event`` is the event of the log line. Does nothing if there is no such problem."""
        known = self._known.pop(kind, None)
        if known is None:
            return
        del self._meanings[kind]
        seconds = round(self._clock() - known.since, 1)
        getattr(self._log, level)(event or f"over: {known.text}", problem=kind, seconds=seconds, **fields)

    def __contains__(self, kind: str) -> bool:
        """Whether there is a problem of this kind."""
        return kind in self._known

    @property
    def now(self) -> list[Problem]:
        """All problems, the oldest first."""
        return [*self._known.values()]

    @property
    def texts(self) -> list[str]:
        """The texts of all problems, the oldest first."""
        return [problem.text for problem in self._known.values()]

    @property
    def ready(self) -> bool:
        """Whether no problem keeps the lambda from consuming."""
        return not any(problem.blocks for problem in self._known.values())
