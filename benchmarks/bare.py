"""The bare alternative: a consumer loop in one process, nothing around it.

    python -m benchmarks.bare ADDRESS TOPIC TOTAL WARM

Prints seconds and records from the WARM-th to the TOTAL-th as JSON. It is given what the sidecar gives its consumer
where that makes it faster (`fetch.queue.backoff.ms`), and commits nothing.
"""

import gc
import json
import sys
import time
import uuid

from confluent_kafka import Consumer

from sidecar import tuning


def main(address: str, topic: str, total: int, warm: int) -> None:
    """Consume ``total`` records as fast as it goes."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": f"bare-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 2,
        }
    )
    consumer.subscribe([topic])
    tuning.tune()
    count, began, first = 0, 0.0, 0
    while count < total:
        count += len(consumer.consume(1000, 0.1))
        if not began and count >= warm:
            began, first = time.perf_counter(), count
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "measured": count - first, "records": count}))
    gc.unfreeze()
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
