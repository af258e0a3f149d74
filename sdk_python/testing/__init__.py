"""Run a lambda in a unit test: no Kafka, no gRPC, no ports.

::

    async with FakeSidecar(plugin, settings={"collection": "words"}) as sidecar:
        await sidecar.feed(b"one", b"two")
        assert sidecar.checkpoints == [0, 1]
        await sidecar.rebalance()  # closes the lambda and makes a new one after the checkpoint

A lambda that called ``context.pause`` stays paused, whatever its ``retry_after``, until it or the test resumes it.

With ``guarantee="exactly-once"``, what the lambda produces is `FakeSidecar.held` until a checkpoint that covers it is
committed; only then is it in `FakeSidecar.sent`.

The code that calls the lambda is the same as in production. Only the stream and the sidecar are simulated here.
"""

from ._fake_sidecar import FakeSidecar
from ._lambda_error import LambdaError
from ._sent import Sent

__all__ = ["FakeSidecar", "LambdaError", "Sent"]
