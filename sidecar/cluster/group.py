"""The members of a consumer group, and what each is assigned, as the group's coordinator tells it.

An AdminClient has `describe_consumer_groups` for that, but a process that lives on must not call it: if a broker goes
away during the call, a late answer may end the process with a failed assertion (librdkafka#4605). The older
`list_groups` has no such fault. It blocks, and gives the assignments as bytes.
"""

from confluent_kafka.admin import AdminClient

from sidecar.mail.facts import GroupFacts
from sidecar.partitions.vocabulary import TopicPartition

UNKNOWN = GroupFacts(stable=False, members={})


def described(admin: AdminClient, group: str, timeout: float) -> GroupFacts:
    """Ask each broker for the group, at most for ``timeout`` seconds; its coordinator tells.

    A group that is not known, or whose assignments cannot be read, counts as not stable. Raises ``KafkaException``.
    """
    for one in admin.list_groups(group, timeout=timeout):
        if one.id == group and one.error is None:
            try:
                members = {str(member.id): assigned(member.assignment or b"") for member in one.members}
            except ValueError:
                return UNKNOWN
            return GroupFacts(one.state == "Stable", members)
    return UNKNOWN


def assigned(data: bytes) -> frozenset[TopicPartition]:
    """The partitions in a member's assignment (`ConsumerProtocolAssignment`); empty bytes: none.

    Raises ``ValueError`` when it is something else.
    """
    if not data:
        return frozenset()
    reader = _Reader(data)
    reader.number(2)  # the version; later ones add fields at the end
    return frozenset(
        TopicPartition(topic, reader.number(4))
        for topic in (reader.text() for _ in range(reader.number(4)))
        for _ in range(reader.number(4))
    )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, size: int) -> int:
        return int.from_bytes(self._bytes(size), signed=True)

    def text(self) -> str:
        return self._bytes(self.number(2)).decode()

    def _bytes(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if size < 0 or len(taken) < size:
            raise ValueError(f"{size} bytes wanted, there are {len(taken)}")
        self._at += size
        return taken
