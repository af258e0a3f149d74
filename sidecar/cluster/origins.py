"""The topics to which offsets belong. Each commit has it in its metadata (`commit_metadata`)."""

from sidecar.mail.facts import Origin
from sidecar.partitions.vocabulary import TopicPartition


class Origins:
    """The origin of each assigned partition's resume offset. Owned by the consumer thread."""

    def __init__(self) -> None:
        self._of: dict[TopicPartition, Origin] = {}

    def __setitem__(self, tp: TopicPartition, origin: Origin) -> None:
        """The partition's resume offset belongs to ``origin`` from now on."""
        self._of[tp] = origin

    def get(self, tp: TopicPartition) -> Origin | None:
        """The origin of the partition's resume offset; None: not known."""
        return self._of.get(tp)

    def forget(self, tp: TopicPartition) -> None:
        """The partition is no longer assigned to us."""
        self._of.pop(tp, None)
