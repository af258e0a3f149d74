"""What the tests of the lambda_producer write, and how they wait."""

import asyncio

from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.producing.outcomes import Outgoing, Written

PATIENCE = 60.0
"""Seconds until a test that waits for something fails; nothing takes that long."""
WRITTEN, FAILED, TOO_LARGE = 1, 2, 5


def records(*values: bytes) -> list[Outgoing]:
    return [Outgoing("out", b"k", value, -1, ()) for value in values]


def writing(lambda_producer: LambdaProducer, wanted: list[Outgoing], size: int = 10) -> asyncio.Task[Written]:
    async def write() -> Written:
        async with asyncio.timeout(PATIENCE):
            return await lambda_producer.write(wanted, size)

    return asyncio.create_task(write())


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
