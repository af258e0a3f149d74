"""Random sessions of the document router, and the comparison of their results.

The steps: ``msg, offset, document, text`` (without a document: only a text), ``cp, document, offset``, ``tick, ms``,
``restart`` (of the partition; the next steps repeat unfinished messages), ``close, reason``.
"""

import random
from collections.abc import Sequence
from typing import Any

from sdk_python import CloseReason
from tests.unit.router.world import World, message, settle

Step = list[Any]

NAMES = ("A", "B", "C", "é", "a/b")

WAITS = (0, 1, 1_000, 59_999, 60_000, 60_001, 599_999, 600_000, 600_001, 660_000)
"""Milliseconds. The router looks for idle documents every 60,000; a document is idle after 600,000."""

REASONS = {"Rebalance": CloseReason.REBALANCED, "Stop": CloseReason.STOPPED}


def session(seed: str, length: int = 60) -> dict[str, Any]:
    """A session of ``length`` steps, or some more."""
    rng = random.Random(seed)
    offset = -1
    log: list[tuple[int, str | None]] = []
    handled: dict[str, list[int]] = {}
    steps: list[Step] = []
    while len(steps) < length:
        kind = rng.choices(("msg", "cp", "tick", "restart"), (50, 40, 12, 1))[0]
        waiting = [name for name, offsets in handled.items() if offsets]
        if kind == "msg":
            offset += rng.choice((1, 1, 1, 2, 5))
            name = rng.choice(NAMES[: rng.choice((1, 3, 5))]) if rng.random() < 0.93 else None
            log.append((offset, name))
            steps.append(_message(rng, offset, name))
            if name is not None:
                handled.setdefault(name, []).append(offset)
        elif kind == "cp" and waiting:
            name = rng.choice(waiting)
            done = rng.choice(handled[name])
            handled[name] = [one for one in handled[name] if one > done]
            steps.append(["cp", name, done])
        elif kind == "tick":
            steps.append(["tick", rng.choice(WAITS)])
        elif kind == "restart":
            steps.append(["restart"])
            first = min((offsets[0] for offsets in handled.values() if offsets), default=offset + 1)
            handled = {}
            for again, name in log:
                if again >= first:
                    steps.append(_message(rng, again, name))
                    if name is not None:
                        handled.setdefault(name, []).append(again)
    return {"steps": [*steps, ["close", rng.choice([*REASONS])]]}


def _message(rng: random.Random, offset: int, name: str | None) -> Step:
    return ["msg", offset, name] if name is not None else ["msg", offset, None, rng.choice(("no json", "[1]", "{}"))]


INTERVAL, IDLE = 60_000, 600_000


class _Player:
    """Plays on our router. A millisecond of the session is one of its seconds, so all times are whole numbers."""

    def __init__(self, now: float = 0.0) -> None:
        self.world = World(activity_timeout=float(IDLE))
        self.world.clock.now = now
        self._next = now + INTERVAL

    async def tick(self, milliseconds: int) -> None:
        """Let time pass; at each interval since its creation the router looks for idle documents."""
        end = self.world.clock.now + milliseconds
        while self._next <= end:
            self.world.clock.now = self._next
            self._next += INTERVAL
            self.world.router.close_idle()
            await settle()
        self.world.clock.now = end


async def play(steps: Sequence[Step]) -> list[list[str]]:
    """The actions of our router in each step."""
    player = _Player()
    answers = []
    for step in steps:
        world = player.world
        match step:
            case ["msg", offset, None, text]:
                world.router.handler(message(offset, text))
            case ["msg", offset, document]:
                world.put(offset, document)
            case ["cp", document, offset]:
                world.context(document).checkpoint(offset)
            case ["tick", milliseconds]:
                await player.tick(milliseconds)
            case ["restart"]:
                await world.router.close(CloseReason.REBALANCED)
                player = _Player(world.clock.now)
                player.world.out[:0] = world.take()
            case ["close", reason]:
                await world.router.close(REASONS[reason])
        await settle()
        answers.append(player.world.take())
    return answers


def difference(steps: Sequence[Step], ours: Sequence[list[str]], theirs: Sequence[list[str]]) -> str | None:
    """The first difference that is wrong, or None.

    Both must call the same handlers, and create and close the same lambdas. Our router must checkpoint at least as
    far as theirs, and never an unfinished message: theirs counts a document's last checkpoint, ours the message
    before the document's first unfinished message.
    """
    lowest = _Lowest()
    our_place = their_place = -1
    for index, step in enumerate(steps):
        if step[0] == "restart":
            our_place = their_place = -1
        mine, other = _but_checkpoints(ours[index]), _but_checkpoints(theirs[index])
        if step[0] == "tick":
            mine, other = sorted(mine), sorted(other)  # documents that become idle together, in any order
        if mine != other:
            return f"step {index}, {step}: {mine}, and the published one {other}"
        their_place = max(_places(theirs[index]), default=their_place)
        our_place = max(_places(ours[index]), default=our_place)
        limit = lowest.after(step)
        if not their_place <= our_place <= limit:
            return f"step {index}, {step}: at {our_place}, the published one at {their_place}, done to {limit}"
    return None


class _Lowest:
    """The last offset before the first unfinished message."""

    def __init__(self) -> None:
        self._open: dict[str, list[int]] = {}
        self._newest = -1

    def after(self, step: Step) -> int:
        """The offset after this step."""
        match step:
            case ["msg", offset, name, *_]:
                self._newest = offset
                if name is not None:
                    self._open.setdefault(name, []).append(offset)
            case ["cp", name, offset]:
                self._open[name] = [one for one in self._open[name] if one > offset]
            case ["restart"]:
                self._open = {}
        return min((offsets[0] - 1 for offsets in self._open.values() if offsets), default=self._newest)


def _places(lines: Sequence[str]) -> list[int]:
    return [int(line.removeprefix("CP ")) for line in lines if line.startswith("CP ")]


def _but_checkpoints(lines: Sequence[str]) -> list[str]:
    """The lines without checkpoints, and with our reasons for closing a lambda."""
    words = {"ActivityTimeout": "idle", "Rebalance": "rebalanced", "Stop": "stopped"}
    kept = [line for line in lines if not line.startswith("CP ")]
    for theirs, ours in words.items():
        kept = [line.replace(f"close({theirs})", f"close({ours})") for line in kept]
    return kept
