"""FastStream over aiokafka or confluent-kafka, in batches or one by one, acknowledged by hand every second.

`AckPolicy.MANUAL`: its default commits before the handler has run, and `ACK` commits after each call of the handler,
which is a round trip to the broker for each. Its own types are off, and so is the guess whether a body is JSON.
"""

# mypy: ignore-errors
# (The library is in an environment of its own.)

import asyncio
import sys
import time

import uvloop
from faststream import AckPolicy, FastStream

from benchmarks.peers.tally import arguments

if sys.argv[6] == "aiokafka":
    from faststream.kafka import KafkaBroker as Broker, KafkaMessage as Message
else:
    from faststream.confluent import KafkaBroker as Broker, KafkaMessage as Message


async def _raw(message: Message) -> object:
    return message.body


def main() -> None:
    """Handle all records."""
    address, topic, group, tally = arguments()
    library, style = sys.argv[6:8]
    settings = {"config": {"fetch.queue.backoff.ms": 2}} if library == "confluent" else {}
    broker = Broker(address, logger=None, **settings)
    app = FastStream(broker, logger=None)
    due = time.monotonic() + 1
    if style == "batch":
        more = {"batch": True, "max_records": 10_000 if library == "confluent" else None}
        if library == "aiokafka":
            more["batch_timeout_ms"] = 10  # it sleeps for so long after it got nothing
    else:
        more = {}

    async def done(message: Message) -> None:
        nonlocal due
        if tally.finished or time.monotonic() > due:
            await message.ack()
            due = time.monotonic() + 1
        if tally.finished:
            app.exit()

    @broker.subscriber(
        topic, group_id=group, auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL, decoder=_raw, **more
    )
    async def handle(message: Message) -> None:
        raw = message.raw_message
        if library == "aiokafka":
            if style == "batch":
                tally.mixed(raw)
            else:
                tally.one(raw.partition, raw.offset)
        else:
            for one in raw if style == "batch" else (raw,):
                tally.one(one.partition(), one.offset())
        await done(message)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as its own command line does
        runner.run(app.run())


if __name__ == "__main__":
    main()
