"""Dapr: daprd beside an application over gRPC. It calls back for each message, or for bulks, or streams messages.

`rawPayload`: the records are not wrapped in CloudEvents. It marks a message when the application has answered, and
commits every second (its Kafka client's default).

    python -m benchmarks.peers.dapr.app BROKER TOPIC GROUP TOTAL WARM DAPRD STYLE [BULK]

STYLE: `callback`, `stream`, or `bulk` with the greatest number of messages in one.
"""

# mypy: ignore-errors
# (The library is in an environment of its own.)

import asyncio
import json
import signal
import socket
import sys
import tempfile
from pathlib import Path

import grpc
from dapr.proto.runtime.v1 import appcallback_pb2 as pb, appcallback_pb2_grpc, dapr_pb2, dapr_pb2_grpc

from benchmarks.peers.tally import Tally, arguments

DONE = pb.TopicEventResponse.SUCCESS
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Application(appcallback_pb2_grpc.AppCallbackServicer, appcallback_pb2_grpc.AppCallbackAlphaServicer):
    """What daprd calls."""

    def __init__(self, topic: str, tally: Tally, bulk: int | None, *, subscribes: bool) -> None:
        self._tally = tally
        self._subscriptions = []
        if subscribes:
            one = {"pubsub_name": "kafka", "topic": topic, "metadata": {"rawPayload": "true"}}
            if bulk is not None:
                one["bulk_subscribe"] = pb.BulkSubscribeConfig(
                    enabled=True, max_messages_count=bulk, max_await_duration_ms=100
                )
            self._subscriptions = [pb.TopicSubscription(**one)]

    async def ListTopicSubscriptions(self, _request, _context):  # noqa: N802
        return pb.ListTopicSubscriptionsResponse(subscriptions=self._subscriptions)

    async def ListInputBindings(self, _request, _context):  # noqa: N802
        return pb.ListInputBindingsResponse()

    async def OnTopicEvent(self, _request, _context):  # noqa: N802
        self._tally.unordered(1)
        return pb.TopicEventResponse(status=DONE)

    async def OnBulkTopicEventAlpha1(self, request, _context):  # noqa: N802
        entries = request.entries
        first, last = entries[0].metadata, entries[-1].metadata
        self._tally.batch(int(first["__partition"]), int(first["__offset"]), int(last["__offset"]), len(entries))
        return pb.TopicEventBulkResponse(
            statuses=[pb.TopicEventBulkResponseEntry(entry_id=entry.entry_id, status=DONE) for entry in entries]
        )


async def main() -> None:
    """Handle all records."""
    broker, topic, group, tally = arguments()
    daprd, style = sys.argv[6:8]
    server = grpc.aio.server(options=UNLIMITED)
    application = Application(
        topic, tally, int(sys.argv[8]) if style == "bulk" else None, subscribes=style != "stream"
    )
    appcallback_pb2_grpc.add_AppCallbackServicer_to_server(application, server)
    appcallback_pb2_grpc.add_AppCallbackAlphaServicer_to_server(application, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    api, inner, http = _free_ports(3)
    with tempfile.TemporaryDirectory(prefix="kafka-sidecar-peer-") as name:
        (Path(name) / "kafka.yaml").write_text(json.dumps(_component(broker, group)))
        command = [daprd, "--app-id", group, "--app-protocol", "grpc", "--app-port", str(port)]
        command += ["--resources-path", name, "--dapr-grpc-port", str(api), "--dapr-internal-grpc-port", str(inner)]
        command += ["--dapr-http-port", str(http), "--dapr-listen-addresses", "127.0.0.1"]
        command += ["--max-body-size", "64Mi", "--enable-metrics=false", "--log-level", "error"]
        process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr)
        try:
            if style == "stream":
                await _stream(api, topic, tally)
            while not tally.finished:
                await asyncio.sleep(0.01)
                if process.returncode is not None:
                    raise SystemExit(f"daprd ended with {process.returncode}")
            await asyncio.sleep(1.5)  # the interval of its last commit
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await process.wait()
    await server.stop(None)


async def _stream(port: int, topic: str, tally: Tally) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
        await asyncio.wait_for(channel.channel_ready(), 30)
        call = dapr_pb2_grpc.DaprStub(channel).SubscribeTopicEventsAlpha1()
        initial = dapr_pb2.SubscribeTopicEventsRequestInitialAlpha1(
            pubsub_name="kafka", topic=topic, metadata={"rawPayload": "true"}
        )
        await call.write(dapr_pb2.SubscribeTopicEventsRequestAlpha1(initial_request=initial))
        done = pb.TopicEventResponse(status=DONE)
        async for response in call:
            if not response.HasField("event_message"):
                continue
            answer = dapr_pb2.SubscribeTopicEventsRequestProcessedAlpha1(id=response.event_message.id, status=done)
            await call.write(dapr_pb2.SubscribeTopicEventsRequestAlpha1(event_processed=answer))
            tally.unordered(1)
            if tally.finished:
                await asyncio.sleep(1.5)  # the interval of its last commit
                break


def _component(broker: str, group: str) -> object:
    settings = {
        "brokers": broker,
        "authType": "none",
        "consumerGroup": group,
        "initialOffset": "oldest",
        "version": "2.8.0",
        "channelBufferSize": "10000",
    }
    return {
        "apiVersion": "dapr.io/v1alpha1",
        "kind": "Component",
        "metadata": {"name": "kafka"},
        "spec": {
            "type": "pubsub.kafka",
            "version": "v1",
            "metadata": [{"name": name, "value": value} for name, value in settings.items()],
        },
    }


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


if __name__ == "__main__":
    asyncio.run(main())
