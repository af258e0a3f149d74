"""aiokafka, ``getmany`` in batches of a partition, committed by hand every second after handling."""

# mypy: ignore-errors
# (The library is in an environment of its own.)

import asyncio
import time

from aiokafka import AIOKafkaConsumer

from benchmarks.peers.tally import arguments


async def main() -> None:
    """Handle all records."""
    broker, topic, group, tally = arguments()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    due = time.monotonic() + 1
    while not tally.finished:
        for partition, records in (await consumer.getmany(timeout_ms=100)).items():
            tally.batch(partition.partition, records[0].offset, records[-1].offset, len(records))
        if time.monotonic() > due:
            await consumer.commit()
            due = time.monotonic() + 1
    await consumer.commit()
    await consumer.stop()


if __name__ == "__main__":
    asyncio.run(main())
