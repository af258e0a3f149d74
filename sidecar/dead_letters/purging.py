"""Deletes dead letters from Kafka, from the beginnings of their partitions."""

from __future__ import annotations

from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from sidecar.dead_letters.clients import ANSWER_TIMEOUT_S, ClientErrors, Cluster, DeadLettersError, quiet
from sidecar.dead_letters.contents import Partition

_REMEDIES = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "allow the user Delete on the topic",
    KafkaError.POLICY_VIOLATION: "only a topic with cleanup.policy: delete can be purged",
}


def purge(cluster: Cluster, before: Mapping[Partition, int]) -> None:
    """Delete all records below these offsets. Raises ``DeadLettersError``; other partitions may be purged then."""
    errors = ClientErrors(cluster.servers)
    admin = AdminClient(quiet(cluster.admin(), errors), logger=errors)
    asked = [TopicPartition(*where, offset) for where, offset in before.items()]
    failed: list[DeadLettersError] = []
    try:
        answers = admin.delete_records(asked, request_timeout=ANSWER_TIMEOUT_S)
    except KafkaException as refusal:
        raise errors.explained(refusal.args[0], "deleting dead letters") from None
    for tp, future in answers.items():
        try:
            future.result()
        except KafkaException as refusal:
            error = refusal.args[0]
            doing = f"deleting the letters of {tp.topic}/{tp.partition}"
            failed.append(errors.explained(error, doing, _REMEDIES.get(error.code(), "")))
    if failed:
        raise failed[0]
