"""Quix Streams: a data frame over bytes whose one step is the handler; at least once, commits each second."""

# mypy: ignore-errors
# (The library is in an environment of its own.)

from quixstreams import Application, message_context

from benchmarks.peers.tally import arguments


def main() -> None:
    """Handle all records."""
    broker, topic_name, group, tally = arguments()
    app = Application(
        broker_address=broker,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_interval=1.0,
        auto_create_topics=False,
        consumer_extra_config={"fetch.queue.backoff.ms": 2},
        loglevel="WARNING",
    )
    topic = app.topic(topic_name, key_deserializer="bytes", value_deserializer="bytes")

    def handle(_: bytes) -> None:
        context = message_context()
        tally.one(context.partition, context.offset)
        if tally.finished:
            app.stop()

    frame = app.dataframe(topic)
    frame.update(handle)
    app.run()


if __name__ == "__main__":
    main()
