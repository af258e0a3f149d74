"""What follows when the log of a partition does not have the offset at which it would go on.

Owned by the consumer thread.
"""

from collections.abc import Callable
from time import monotonic
from typing import Literal

from structlog.typing import FilteringBoundLogger

from sidecar.mail.facts import Edges
from sidecar.measured import ThreadMeasure
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import TopicPartition

Policy = Literal["earliest", "latest", "halt"]
"""`on_offset_lost` of the config."""


class LostOffsets:
    """Does what the policy says."""

    def __init__(
        self, table: PartitionTable, policy: Policy, log: FilteringBoundLogger, measure: ThreadMeasure
    ) -> None:
        self._table = table
        self._policy = policy
        self._log = log
        self._measure = measure

    def lost(
        self, tp: TopicPartition, offset: int, resume_at: int, edges: Edges, text: str, *, same_topic: bool = False
    ) -> tuple[int, Callable[[], None]]:
        """The log does not have ``offset``. Returns the offset to which the client is to be moved, and what is to be
        done after that. ``same_topic``: the topic was not made anew, so the places of other lanes may be right."""
        to = edges.latest if self._policy == "latest" else edges.earliest
        from_start = same_topic and offset < edges.earliest

        def lose() -> None:
            self._measure.fetch_errors["offset_lost"] += 1
            halts = self._policy == "halt"
            self._log.error(
                "offset lost: " + ("halting" if halts else f"going on at the {self._policy}"),
                topic=tp.topic,
                partition=tp.partition,
                offset=offset,
                place=resume_at,
                earliest=edges.earliest,
                latest=edges.latest,
                reason=text,
            )
            self._table.offset_lost(tp, to, monotonic(), text, halt=halts, from_start=from_start)

        return to, lose
