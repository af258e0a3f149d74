"""The bare loop: a consumer loop in one process, and nothing else.

    python -m benchmarks.bare ADDRESS TOPIC GROUP TOTAL WARM tuned|working|plain

Talks to its runner as `benchmarks.peers.tally` says: the clock starts with the WARM-th record.

- ``tuned``: has the settings that make the sidecar's own consumer faster (of the interpreter, and
  `fetch.queue.backoff.ms`), and commits nothing. This is the harder comparison, so it is the main one.
- ``working``: the same, and the work of `benchmarks.busy` for each record.
- ``plain``: the loop as a careful user writes it, with `fetch.queue.backoff.ms`, without which librdkafka stops for
  up to a second whenever its queue is full. Otherwise it has the defaults of the interpreter, of the allocator and of
  librdkafka, which commits consumed records every five seconds.
"""

import gc
import sys
from collections.abc import Mapping

from confluent_kafka import Consumer

from benchmarks.busy import work
from benchmarks.peers.tally import Tally, arguments
from sidecar import tuning

BATCH = 1000
_BOTH: Mapping[str, str | int | bool] = {"auto.offset.reset": "earliest", "fetch.queue.backoff.ms": 2}


def main() -> None:
    """Consume all records as fast as possible."""
    broker, topic, group, tally = arguments()
    total, style = int(sys.argv[4]), sys.argv[6]
    committing = {} if style == "plain" else {"enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": broker, "group.id": group, **_BOTH, **committing})
    consumer.subscribe([topic])
    if style != "plain":
        tuning.tune()
    if style == "working":
        _consume_and_work(consumer, tally)
    else:
        while not tally.finished:
            tally.unordered(len(consumer.consume(BATCH, 0.1)))
    _must_be_at_the_end(consumer, total)
    gc.unfreeze()
    consumer.close()


def _consume_and_work(consumer: Consumer, tally: Tally) -> None:
    while not tally.finished:
        messages = consumer.consume(BATCH, 0.1)
        for _ in messages:
            work()
        tally.unordered(len(messages))


def _must_be_at_the_end(consumer: Consumer, total: int) -> None:
    """Check that each record was consumed once. The timed loop looks at no message, so this compares their number
    with the positions, which must be at the end of each partition.

    An error, which `consume` returns among the messages, is in the number and not in the positions.
    """
    reached = sum(place.offset for place in consumer.position(consumer.assignment()))
    if reached != total:
        raise SystemExit(f"the positions of all partitions add up to {reached}, there are {total} records")


if __name__ == "__main__":
    main()
