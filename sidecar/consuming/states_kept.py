"""Whether the broker keeps the states that lambdas give with their checkpoints.

States travel in the metadata of commits. A broker may drop that without an error, as the embedded one does: then a
state is lost when the sidecar restarts or another sidecar gets the partition. Owned by the consumer thread.
"""

from collections.abc import Iterable, Mapping

from confluent_kafka import KafkaError
from structlog.typing import FilteringBoundLogger

from sidecar.cluster.inquiries import Inquiries
from sidecar.mail.facts import Commit
from sidecar.partitions.offsets import Commitment
from sidecar.partitions.vocabulary import TopicPartition


class StatesKept:
    """Asks for the first state that was committed, and warns once if it does not come back."""

    def __init__(self, inquiries: Inquiries, log: FilteringBoundLogger) -> None:
        self._inquiries = inquiries
        self._log = log
        self._asked = False

    def committed(self, tp: TopicPartition, commitments: Iterable[Commitment]) -> None:
        """Kafka has taken this commit of the partition's lanes."""
        if self._asked or not any(one.place.state for one in commitments):
            return
        self._asked = True

        def told(commits: Mapping[TopicPartition, Commit] | KafkaError) -> None:
            if isinstance(commits, KafkaError):
                self._asked = False  # the next commit with a state asks again
            elif tp in commits and commits[tp].origin is None:
                self._log.warning(
                    "the broker does not keep the metadata of commits: the lambda's state is lost when the sidecar "
                    "restarts, or when another sidecar gets the partition",
                    topic=tp.topic,
                    partition=tp.partition,
                )

        self._inquiries.commits([tp], told)
