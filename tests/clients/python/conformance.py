"""The conformance lambda in Python: docs/conformance.md says what its words mean.

kafka-sidecar conformance -- python tests/clients/python/conformance.py
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any

from sdk_python import CloseReason, IContext, Message, ProduceError
from sdk_python.serve import main

WORDS = dict(word.partition("=")[::2] for word in os.environ["CONFORMANCE_DO"].split())
TYPES = ("none", "create", "append")
once: Counter[str] = Counter()
"""What happens so many times in a process, whichever partition it concerns."""


async def wait(word: str) -> None:
    """Wait as many milliseconds as the word says."""
    await asyncio.sleep(int(WORDS.get(word, 0)) / 1000)


def at(word: str, offset: int) -> list[str] | None:
    """The parts after the offset of a word that concerns this record; None: it does not."""
    first, *parts = WORDS.get(word, "-1").split(":")
    return parts if int(first) == offset else None


def shown(value: bytes | None) -> str:
    """A key or value in the line of `describe`."""
    return "-" if value is None else value.hex() or "''"


def described(record: Message) -> str:
    """The line of `describe`."""
    headers = ",".join(f"{n.encode('utf-8', 'surrogateescape').hex()}:{shown(v)}" for n, v in record.headers)
    stamp = -1 if record.timestamp is None else record.timestamp
    return (
        f"{record.topic}/{record.partition} {record.offset} {stamp} {TYPES[record.timestamp_type]} "
        f"{shown(record.key)} {shown(record.value)} {headers or 'none'}"
    )


class Lambda:
    """The lambda of one partition."""

    def __init__(self, config: Mapping[str, Any], context: IContext) -> None:
        self.config = config
        self.context = context
        self.handled = -1
        self.since = 0  # records since the last checkpoint
        self.told = False  # what it was told about its partition
        self.first, self.last = map(int, WORDS.get("hold", "-1:-1").split(":"))
        self.beyond = [0, 0]  # records that are done after the one that is held, and their bytes

    async def handler(self, record: Message) -> None:
        context, offset = self.context, record.offset
        who, _, milliseconds = WORDS.get("take", "-1:0").partition(":")
        if who in ("each", str(offset)):
            await asyncio.sleep(int(milliseconds) / 1000)
        if (progress := at("progress", offset)) is not None:
            count, milliseconds = progress
            for step in range(1, int(count) + 1):
                context.progress(str(step))
                await asyncio.sleep(int(milliseconds) / 1000)
        if (pause := at("pause", offset)) is not None and not once["pause"]:
            once["pause"] += 1
            again = "again" in pause
            context.pause("planned", int(pause[0]) / 1000 or None, offset if again else None)
            if "resume" in WORDS:
                asyncio.get_running_loop().call_later(int(WORDS["resume"]) / 1000, context.resume)
            if again:
                return
        if (fail := at("fail", offset)) is not None:
            if fail[0] == "raise":
                raise RuntimeError("planned")
            context.error("planned", fail[0] != "critical", None if fail[0] == "lost" else offset)
            return
        if at("report", offset) is not None:
            context.report("planned", offset)
        if await self.produce(record):
            self.progress(record)
            self.handled = offset
            if (committed := at("committed", offset)) is not None:
                await context.committed(offset)
                await context.produce(committed[0], "committed")

    async def produce(self, record: Message) -> bool:
        """Produce what the words ask for; returns whether to go on."""
        context = self.context
        value = record.value if "size" not in WORDS else bytes(int(WORDS["size"]))
        named = {"source": record.offset} if WORDS.get("source") in ("each", str(record.offset)) else {}
        try:
            if "tell" in WORDS and not self.told:
                self.told = True
                line = f"{context.lane}/{context.lanes} {context.guarantee} {shown(context.state)}"
                await context.produce(WORDS["tell"], line)
            if "copy" in WORDS:
                await context.produce(WORDS["copy"], value, record.key, record.headers, **named)
            if "send" in WORDS:
                context.produce(WORDS["send"], value, record.key, record.headers, **named)
            if "try" in WORDS:
                try:
                    await context.produce(WORDS["try"], value, record.key, record.headers, **named)
                except ProduceError as error:
                    print(f"not written: {error}", file=sys.stderr)
            if "describe" in WORDS:
                await context.produce(WORDS["describe"], described(record))
            if "setting" in WORDS and not once["setting"]:
                once["setting"] += 1
                name, _, topic = WORDS["setting"].partition(":")
                setting = self.config.get(name)
                await context.produce(topic, setting if isinstance(setting, str) else json.dumps(setting))
        except ProduceError as error:
            context.error(error, True, record.offset)
            return False
        return True

    def checkpoint(self, offset: int) -> None:
        """Checkpoint with the state that the words give this offset."""
        first, _, text = WORDS.get("state", "-1:").partition(":")
        if first not in ("each", str(offset)):
            self.context.checkpoint(offset)
            return
        try:
            self.context.checkpoint(offset, (str(offset) if first == "each" else text).encode())
        except ValueError as refusal:
            self.context.report(refusal, offset)
            self.context.checkpoint(offset)

    def progress(self, record: Message) -> None:
        """Checkpoint as the words say."""
        context, offset = self.context, record.offset
        if (ahead := at("ahead", offset)) is not None:
            self.checkpoint(int(ahead[0]))
        if 0 <= self.first <= offset < self.last:
            if offset > self.first:
                self.beyond[0] += 1
                self.beyond[1] += len(record.key or b"") + len(record.value or b"")
                context.completed_beyond(*self.beyond)
        elif offset == self.last:
            self.checkpoint(offset)
            context.completed_beyond(0, 0)
        elif "checkpoint" in WORDS:
            self.since += 1
            if self.since >= int(WORDS["checkpoint"]):
                self.since = 0
                self.checkpoint(offset)

    async def close(self, reason: CloseReason) -> None:
        await wait("close")
        if "closing" in WORDS and reason is not CloseReason.ERROR and self.handled >= 0:
            self.checkpoint(self.handled)


class Factory:
    """Makes the lambdas."""

    async def create(self, config: Mapping[str, Any], context: IContext) -> Lambda:
        await wait("create")
        once["create"] += 1
        if once["create"] <= int(WORDS.get("fail-create", 0)):
            raise RuntimeError("planned")
        return Lambda(config, context)

    async def dispose(self) -> None:
        """It holds nothing."""


class Plugin:
    """Loads what all partitions share."""

    async def create(self, _: Mapping[str, Any]) -> Factory:
        await wait("load")
        return Factory()


plugin = Plugin()

if __name__ == "__main__":
    sys.exit(main([os.environ["CONFORMANCE_LAMBDA"], "__main__"]))
