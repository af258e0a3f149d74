"""What is told about partitions: for each cause the sentences and the commands that help.

Several partitions with one cause are told together: how many there are, and then the details of the first, which has
waited longest. A sentence is left out where the sidecar does not know what it would say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sidecar.causes import Cause
from sidecar.explain import stops, waits
from sidecar.explain.cases import Case
from sidecar.explain.group import Group, Told


def tell(cause: Cause, cases: Sequence[Case]) -> Told:
    """Tell about partitions of one lambda with one cause; the first of them has waited longest."""
    told = _TELLERS[cause](Group(cases))
    return Told([sentence for sentence in told.sentences if sentence], told.commands)


_TELLERS: dict[Cause, Callable[[Group], Told]] = {
    Cause.NO_LEADER: waits.no_leader,
    Cause.NO_PROCESS: waits.no_process,
    Cause.NO_SPARE_STREAM: waits.no_spare_stream,
    Cause.HALTED: stops.halted,
    Cause.UNDELIVERABLE: stops.undeliverable,
    Cause.DEAD_LETTER_FAILED: stops.dead_letter_failed,
    Cause.DEAD_LETTER_WAITS: stops.dead_letter_waits,
    Cause.OFFSET_LOST: stops.offset_lost,
    Cause.WINDOW_FULL: stops.window_full,
    Cause.HANDLER_BLOCKS: stops.handler_blocks,
    Cause.NO_CHECKPOINT: stops.no_checkpoint,
    Cause.DEADLINE: stops.deadline,
    Cause.BACKING_OFF: stops.backing_off,
    Cause.PAUSED_BY_OPERATOR: stops.paused_by_operator,
    Cause.PAUSED_BY_LAMBDA: stops.paused_by_lambda,
    Cause.DRAINING: waits.draining,
    Cause.RESOLVING: waits.resolving,
    Cause.STARTING: waits.starting,
    Cause.CORRUPT_DOCUMENTS: waits.corrupt_documents,
    Cause.BEHIND: waits.behind,
    Cause.NOTHING_TO_DO: waits.nothing_to_do,
    Cause.OTHER: waits.other,
}
