"""Made-up answers of sidecars."""

from collections.abc import Iterable

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.fleet.addresses import Sidecar
from sidecar.commands.fleet.asking import Answered, Failed

HERE, THERE, LOST = Sidecar("10.0.0.3:50051"), Sidecar("10.0.0.4:50051"), Sidecar("10.0.0.5:50051")


def answered(
    sidecar: Sidecar, partitions: Iterable[int], *, name: str = "deli", group: str = "g", pid: int = 0, size: int = 0
) -> Answered:
    """A sidecar that owns these partitions of the topic `raw`."""
    owned = [
        pb.Partition(topic="raw", partition=one, state=pb.PARTITION_STATE_RUNNING, committed=5, end=7)
        for one in partitions
    ]
    hosted = pb.Lambda(name=name, group=group, topics=["raw"], connected=True, joined=True, partitions=owned)
    if size:  # an older sidecar does not say it
        hosted.topic_sizes.add(topic="raw", partitions=size)
    return Answered(
        sidecar, pb.StatusResponse(version="1.0", started_at_ms=1000, host="h", pid=pid, lambdas=[hosted])
    )


FAILED = Failed(LOST, f"no answer from {LOST.address} in time; does it run?")
