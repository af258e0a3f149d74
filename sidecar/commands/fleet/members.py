"""The members of a consumer group, as Kafka knows them: on their hosts are the group's sidecars."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from sidecar.commands.fleet.addresses import Member, host_in
from sidecar.config import Config
from sidecar.dead_letters.clients import ClientErrors, Cluster, DeadLettersError, quiet

TIMEOUT_S = 10.0
"""Seconds that Kafka may take for its answer."""

_AGAIN_S = 0.2
_MOVING = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
    }
)
"""A broker is becoming the group's coordinator: Kafka answers so for a moment. It is asked again after `_AGAIN_S`."""


class MembersError(Exception):
    """The members are not known; the text says why and what helps."""


def members_of(config: Config, group: str) -> tuple[Member, ...]:
    """Ask Kafka for the members of a group. Nothing joins the group, and nothing is committed.

    Args:
        config: a sidecar's, whose `kafka` section says where Kafka is.
        group: the consumer group.

    Raises ``MembersError`` when Kafka does not answer, refuses, or the group has no member.
    """
    try:
        cluster = Cluster(config)
    except DeadLettersError as error:
        raise MembersError(f"the members of the group {group} cannot be asked for: {error}") from None
    errors = ClientErrors(cluster.servers)
    admin = AdminClient(quiet(cluster.admin(), errors), logger=errors)
    try:
        members = _described(admin, group)
    except KafkaException as refusal:
        doing = f"the members of the group {group} cannot be read"
        remedy = "allow the user Describe on the group, or give the sidecars' addresses with --address"
        raise MembersError(str(errors.explained(refusal.args[0], doing, remedy))) from None
    if not members:
        raise MembersError(
            f"the group {group} has no members now; a sidecar joins it when its first lambda process connects. "
            "Is the name right? --address asks a sidecar that is not in the group"
        )
    return members


def _described(admin: AdminClient, group: str) -> tuple[Member, ...]:
    """The members of a group; none if Kafka does not know the group. Raises ``KafkaException``."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        # The type of the result is not that of the stubs: a future for each group.
        future: Any = admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group]
        try:
            return tuple(map(_member, future.result().members))
        except KafkaException as refusal:
            code = refusal.args[0].code()
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                return ()
            if code not in _MOVING or time.monotonic() > deadline:
                raise
        time.sleep(_AGAIN_S)


def _member(one: Any) -> Member:
    """``one``: the binding's description."""
    partitions = frozenset((tp.topic, tp.partition) for tp in one.assignment.topic_partitions)
    return Member(host_in(one.host), one.client_id, partitions)
