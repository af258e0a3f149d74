"""Faust: an agent over the events of a topic of bytes, one by one; commits each second what was handled."""

# mypy: ignore-errors
# (The library is in an environment of its own.)

import os
import signal
import sys

import faust
import mode.loop

from benchmarks.peers.tally import arguments


def main() -> None:
    """Handle all records."""
    broker, topic_name, group, tally = arguments()
    mode.loop.use("uvloop")
    app = faust.App(
        group,
        broker=f"kafka://{broker}",
        store="memory://",
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        datadir=sys.argv[6],
    )
    topic = app.topic(topic_name, key_serializer="raw", value_serializer="raw", partitions=8)

    @app.agent(topic)
    async def handle(stream) -> None:
        async for event in stream.events():
            message = event.message
            tally.one(message.partition, message.offset)
            if tally.finished:
                app.loop.call_later(1.5, os.kill, os.getpid(), signal.SIGTERM)  # after its commit

    worker = faust.Worker(app, loglevel="error", quiet=True, redirect_stdouts=False)
    worker.execute_from_commandline()


if __name__ == "__main__":
    main()
