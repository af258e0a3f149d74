"""A lambda without the SDK: it uses only grpcio and the generated code. One partition at a time.

python -m examples.by_hand NAME [ADDRESS]
"""

import sys
import uuid
from queue import SimpleQueue

import grpc

from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.protocol.lambda_pb2_grpc import LambdaHostStub


def serve(name: str, address: str = "127.0.0.1:50051") -> None:
    """Take one partition, print its values, give it back when it is revoked."""
    with grpc.insecure_channel(address) as channel:
        stub = LambdaHostStub(channel)  # type: ignore[no-untyped-call]
        out = SimpleQueue[pb.LambdaFrame | None]()  # None ends our side of the stream
        offer = pb.Offer(lambda_name=name, process_id=uuid.uuid4().hex, protocol_version=1)
        out.put(pb.LambdaFrame(offer=offer))
        lease = ""
        for frame in stub.Serve(iter(out.get, None)):
            match frame.WhichOneof("frame"):
                case "welcome":  # load what you need, then say that you can take a partition
                    out.put(pb.LambdaFrame(available=pb.Available()))
                case "assigned":
                    lease = frame.assigned.lease
                    out.put(pb.LambdaFrame(ready=pb.Ready(lease=lease)))
                case "batch":
                    batch = frame.batch
                    for value in batch.values:
                        print(value)
                    last = batch.offsets[-1] if batch.offsets else batch.first_offset + len(batch.values) - 1
                    entry = pb.CheckpointEntry(lease=lease, offset=last)
                    stub.Checkpoint(pb.CheckpointRequest(entries=[entry]))
                case "revoked":
                    out.put(pb.LambdaFrame(closed=pb.Closed(reason=pb.CLOSED_REASON_REVOKED)))
                    out.put(None)


if __name__ == "__main__":
    serve(*sys.argv[1:])
