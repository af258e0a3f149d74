"""The bare alternative: a consumer loop in one process, nothing around it.

    python -m benchmarks.bare ADDRESS TOPIC GROUP TOTAL WARM tuned|working|plain

Talks to its runner as `benchmarks.peers.tally` says: the clock starts with the WARM-th record.

- ``tuned``: has what makes the sidecar's own consumer faster, the interpreter's settings and
  `fetch.queue.backoff.ms`, and commits nothing. The harder comparison, so the main one.
- ``working``: the same, and the work of `benchmarks.busy` for each record.
- ``plain``: the loop as a careful user writes it: `fetch.queue.backoff.ms`, without which librdkafka stands still for
  up to a second whenever its queue is full, and otherwise the defaults of the interpreter, of the allocator and of
  librdkafka, which commits what was consumed every five seconds.
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
    """Consume all records as fast as it goes."""
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
    """No message is looked at while it is timed. But as many as there are, to the end of each partition: each once.

    An error, which `consume` answers among the messages, is in the count and not in the positions.
    """
    reached = sum(place.offset for place in consumer.position(consumer.assignment()))
    if reached != total:
        raise SystemExit(f"the positions of all partitions add up to {reached}, there are {total} records")


if __name__ == "__main__":
    main()
