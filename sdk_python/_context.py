"""The `IContext` of one partition's lambda: it checks what the lambda says and passes it on.

The context has the methods of `IContext` and nothing else, since lambda authors see all of it. So it is bound to the
objects that do the work and inherits from none of them. ``context.checkpoint`` is `LeaseProgress.checkpoint` itself:
a lambda that checkpoints each message pays for no call in between.
"""

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from ._checkpoints import LeaseProgress
from ._commits import Commits
from ._life_signs import LifeSigns
from ._limits import Terms
from ._pause_gate import Pause, PauseGate
from ._place import Place
from ._produce import Producing
from ._record import MAX_OFFSET
from ._reporting import Failure, Reporting
from ._tracing import Tracing
from .protocol import lambda_pb2 as pb


class Speaking(NamedTuple):
    """Those that do what a lambda says, of one lease."""

    progress: LeaseProgress
    gate: PauseGate
    producing: Producing
    reporting: Reporting
    life_signs: LifeSigns
    commits: Commits
    tracing: Tracing | None


class PartitionContext:
    """What the author of a lambda sees of its partition."""

    def __init__(
        self,
        place: Place,
        assigned: pb.Assigned,
        terms: Terms,
        speaking: Speaking,
        on_failure: Callable[[Failure], None],
    ) -> None:
        progress, gate, producing, reporting, life_signs, commits, tracing = speaking
        self.topic, self.partition, self.lane, self.lanes = place
        self.lease = assigned.lease
        self.start_offset = assigned.start_offset if assigned.HasField("start_offset") else None
        self.attempt = assigned.attempt
        self.state = assigned.state
        self.guarantee = terms.guarantee
        self.checkpoint = progress.checkpoint
        self.completed_beyond = progress.completed_beyond
        self.skipped = progress.skipped
        self.progress = life_signs.say
        self.resume = gate.resume
        self.produce = producing.put if tracing is None else tracing.put(producing.put)
        self.produce_many = producing.put_many if tracing is None else tracing.put_many(producing.put_many)
        self._place = place
        self._gate = gate
        self._producing = producing
        self._reporting = reporting
        self._commits = commits
        self._on_failure = on_failure

    def __repr__(self) -> str:
        return f"<context of {self._place}>"

    async def committed(self, offset: int) -> None:
        """Wait until everything up to ``offset`` is committed, as `IContext.committed` describes."""
        check_offset(offset)
        if offset is None:
            raise TypeError("committed(offset): an int, got None")
        await self._commits.reach(offset)

    def error(self, error: BaseException | str, restart: bool, offset: int | None = None) -> None:
        """End this lambda, recoverably or critically, as `IContext.error` describes."""
        check_error(error, restart, offset)
        action = pb.ERROR_ACTION_RESTART if restart else pb.ERROR_ACTION_CRITICAL
        self._on_failure(Failure(error, action, offset, "lambda_error"))

    def report(self, error: BaseException | str, offset: int | None = None) -> None:
        """Report an error to the operators and go on, as `IContext.report` describes."""
        check_report(error, offset)
        self._reporting.report(Failure(error, pb.ERROR_ACTION_REPORT, offset, "lambda_error"))

    def pause(self, reason: str = "", retry_after: float | None = None, offset: int | None = None) -> None:
        """Take no messages for now, as `IContext.pause` describes."""
        check_pause(reason, retry_after, offset)
        self._gate.pause(Pause(reason, retry_after, offset))


def producing_of(context: object) -> Producing | None:
    """How a partition's records are sent; None: the context is not the SDK's."""
    return context._producing if isinstance(context, PartitionContext) else None  # noqa: SLF001  of this module


def check_error(error: object, restart: object, offset: object) -> None:
    """Check the arguments of `IContext.error`. Raises ``TypeError`` or ``ValueError``."""
    check_report(error, offset)
    if not isinstance(restart, bool):
        raise TypeError(f"error(error, restart): restart is True or False, got {type(restart).__name__}")


def check_report(error: object, offset: object) -> None:
    """Check the arguments of `IContext.report`. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(error, BaseException | str):
        raise TypeError(f"error is an exception or a text, got {type(error).__name__}")
    check_offset(offset)


def check_pause(reason: object, retry_after: object, offset: object) -> None:
    """Check the arguments of `IContext.pause`. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(reason, str):
        raise TypeError(f"pause(reason): a text, got {type(reason).__name__}")
    check_seconds(retry_after)
    check_offset(offset)


def check_seconds(retry_after: object) -> None:
    """Check a number of seconds, or None. Raises ``TypeError`` or ``ValueError``."""
    if retry_after is None:
        return
    if not isinstance(retry_after, int | float) or isinstance(retry_after, bool):
        raise TypeError(f"retry_after is a number of seconds or None, got {type(retry_after).__name__}")
    if not 0 < retry_after < inf:
        raise ValueError(f"retry_after is a positive, finite number of seconds, got {retry_after}")


def check_offset(offset: object) -> None:
    """Check an offset, or None. Raises ``TypeError`` or ``ValueError``."""
    if offset is None:
        return
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise TypeError(f"offset is an int or None, got {type(offset).__name__}")
    if not 0 <= offset <= MAX_OFFSET:
        raise ValueError(f"an offset is 0 to {MAX_OFFSET}, got {offset}")
