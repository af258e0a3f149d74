"""A static member of a group that dies when it has given partitions up, and before it joins again.

    python -m tests.integration.dying_member ADDRESS GROUP TOPIC INSTANCE

It writes a line `assigned: N` for each assignment.
"""

import os
import signal
import sys

from confluent_kafka import Consumer, TopicPartition


def assigned(_: Consumer, partitions: list[TopicPartition]) -> None:
    print(f"assigned: {len(partitions)}", flush=True)


def revoked(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    consumer.incremental_unassign(partitions)
    os.kill(os.getpid(), signal.SIGKILL)


def main(address: str, group: str, topic: str, instance: str) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": group,
            "group.instance.id": instance,
            "partition.assignment.strategy": "cooperative-sticky",
            "heartbeat.interval.ms": 500,
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([topic], on_assign=assigned, on_revoke=revoked)
    while True:
        consumer.poll(1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
