"""Numaflow's Python SDK without Numaflow: its gRPC server in a process of its own, and a bare caller.

Numaflow reads Kafka in Rust and needs Kubernetes, so only this half is here: the caller sends records from memory, in
batches of 500 (Numaflow's default), the next when all of a batch is answered, as Numaflow does. It sends bytes made
beforehand and does not parse answers, so it costs as little as a Python process can.

    python -m benchmarks.peers.pynumaflow.caller BROKER TOPIC GROUP TOTAL WARM STYLE

STYLE: `map`, a call of the handler for each message, or `batch`, one for each batch.
"""

# mypy: ignore-errors
# (The library is in an environment of its own.)

import queue
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
from google.protobuf.empty_pb2 import Empty
from pynumaflow.batchmapper import BatchMapAsyncServer, BatchResponse, BatchResponses, Message as BatchMessage
from pynumaflow.mapper import MapAsyncServer, Message, Messages
from pynumaflow.proto.mapper import map_pb2, map_pb2_grpc

from benchmarks.peers.tally import arguments

BATCH = 500


async def _each(_keys, _datum) -> Messages:
    return Messages(Message.to_drop())


async def _batch(datums) -> BatchResponses:
    responses = BatchResponses()
    async for datum in datums:
        responses.append(BatchResponse.from_id(datum.id))
        responses[-1].append(BatchMessage.to_drop())
    return responses


def serve(style: str, folder: str) -> None:
    """The server, as its documentation starts it."""
    paths = {"sock_path": f"{folder}/sock", "server_info_file": f"{folder}/info"}
    server = MapAsyncServer(_each, **paths) if style == "map" else BatchMapAsyncServer(_batch, **paths)
    server.start()


def call(style: str) -> None:
    """The caller."""
    _, _, _, tally = arguments()
    with tempfile.TemporaryDirectory(prefix="kafka-sidecar-peer-") as folder:
        command = [sys.executable, "-m", "benchmarks.peers.pynumaflow.caller", "serve", style, folder]
        process = subprocess.Popen(command, stdout=sys.stderr)
        try:
            while not (Path(folder) / "info").exists():
                time.sleep(0.05)
                if process.poll() is not None:
                    raise SystemExit(f"the server ended with {process.returncode}")
            with grpc.insecure_channel(f"unix://{folder}/sock") as channel:
                map_pb2_grpc.MapStub(channel).IsReady(Empty(), wait_for_ready=True)
                _send(channel, style, tally)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def _send(channel, style: str, tally) -> None:
    value = b"x" * 100
    requests = [
        map_pb2.MapRequest(
            id=str(number), request=map_pb2.MapRequest.Request(keys=[f"key-{number}"], value=value)
        ).SerializeToString()
        for number in range(BATCH)
    ]
    # It ends a batch, and its answer too.
    end = [map_pb2.MapRequest(status=map_pb2.TransmissionStatus(eot=True)).SerializeToString()]
    ends = end if style == "batch" else []
    go: queue.SimpleQueue[int] = queue.SimpleQueue()

    def batches() -> Iterator[bytes]:
        yield map_pb2.MapRequest(handshake=map_pb2.Handshake(sot=True)).SerializeToString()
        while number := go.get():
            yield from requests[:number]
            yield from ends

    responses = channel.stream_stream("/map.v1.Map/MapFn")(batches())
    next(responses)  # the handshake
    total = int(sys.argv[4])
    while not tally.finished:
        number = min(BATCH, total - tally.count)
        go.put(number)
        for _ in range(number + len(ends)):
            next(responses)
        tally.unordered(number)
    go.put(0)
    responses.cancel()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:4])
    else:
        call(sys.argv[6])
