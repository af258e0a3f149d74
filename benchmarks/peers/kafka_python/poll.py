"""kafka-python, ``poll`` in batches of a partition, its own commit every second.

It commits inside ``poll``, so what an earlier ``poll`` returned: handled by then.
"""

# mypy: ignore-errors
# (The library is in an environment of its own.)

from kafka import KafkaConsumer

from benchmarks.peers.tally import arguments


def main() -> None:
    """Handle all records."""
    broker, topic, group, tally = arguments()
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=broker,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=True,
        auto_commit_interval_ms=1000,
        max_poll_records=10_000,
    )
    while not tally.finished:
        for partition, records in consumer.poll(timeout_ms=100).items():
            tally.batch(partition.partition, records[0].offset, records[-1].offset, len(records))
    consumer.close()


if __name__ == "__main__":
    main()
