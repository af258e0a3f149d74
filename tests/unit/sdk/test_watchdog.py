"""A blocked loop is noticed, with the message that blocks it."""

import asyncio
import logging
import threading

import pytest

from sdk_python import Message
from sdk_python._watchdog import Watchdog

from .test_dispatch import dispatcher, run_until_idle


class Warned(logging.Handler):
    """Tells a thread that the warning came."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Event()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.came.set()


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_blocked_loop_gets_one_warning_with_partition_offset_and_stack(is_async: bool) -> None:
    warned = Warned()
    log = logging.getLogger("kafka_sidecar.sdk")
    log.addHandler(warned)

    def blocking_handler(message: Message) -> None:
        if message.offset == 3:
            assert warned.came.wait(10)  # blocks the loop until the warning is there

    async def blocking_coroutine(message: Message) -> None:
        blocking_handler(message)

    try:
        with Watchdog("deli", limit=0.05):
            await run_until_idle(dispatcher(10), blocking_coroutine if is_async else blocking_handler)
    finally:
        log.removeHandler(warned)
    (record,) = warned.records
    text = record.getMessage()
    assert "deli: the event loop has been blocked" in text
    assert "by the handler of t/0 at offset 3" in text
    assert "blocking_handler" in text
    assert record.__dict__["offset"] == 3


async def test_a_loop_that_is_not_blocked_gets_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    with Watchdog("deli", limit=5.0):
        await asyncio.sleep(0)
    assert caplog.messages == []
