"""Dead letters on the page: what failed, by cause; one of them; and their replay.

It is the workbench of `sidecar.dead_letters`, which talks to Kafka with clients of its own, in a thread. Its promises
hold here too: looking moves no group, each letter is replayed once, and a new replay fences an old one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from sidecar.config import Config
from sidecar.dead_letters.choice import Choice, chosen, parse_which
from sidecar.dead_letters.clients import Cluster, DeadLettersError
from sidecar.dead_letters.contents import Contents
from sidecar.dead_letters.exported import document
from sidecar.dead_letters.groups import group_document, grouped
from sidecar.dead_letters.letter import Letter, Place
from sidecar.dead_letters.plain import laid_out
from sidecar.dead_letters.plan import replay_plan, target
from sidecar.dead_letters.reading import Reader, partitions_of
from sidecar.dead_letters.replay_run import Manner, ReplayRun
from sidecar.dead_letters.topics import dead_letter_topics
from sidecar.logs import get_logger
from sidecar.operate.page.plain import shown
from sidecar.operate.page.refusal import Refusal
from sidecar.operate.page.threads import in_thread
from sidecar.visible import visible_lines

MAX_LETTERS = 100_000
"""Records of dead-letter topics that the page reads: each takes half a kilobyte of the sidecar's memory meanwhile."""

MAX_GROUPS = 200
"""Causes that the page shows, the latest ones."""

MAX_SHOWN_CHARACTERS = 20_000
"""The shown length of a key, a value, a header or a stack."""

STOP_TIMEOUT_S = 5.0
"""A replay that is told to stop gets this time for its open transaction. After that the sidecar may end in the midst
of it: then nothing of it appears, and the letters stay open."""

_TOO_MANY = (
    f"there are more than {MAX_LETTERS} records in the dead-letter topics: `kafka-sidecar dead-letters`, which needs "
    "none of the sidecar's memory, lists and replays them"
)

T = TypeVar("T")
_log = get_logger(__name__)


@dataclass(slots=True)
class ReplayState:
    """A replay that the page has begun, for everybody who watches. Texts are fit to be shown."""

    topic: str
    which: str
    state: Literal["running", "finished", "stopped", "failed"]
    began_ms: int
    total: int = 0
    """Records to replay; 0: not known yet."""
    replayed: int = 0
    text: str = ""
    """Why it failed."""


class _StoppedError(Exception):
    """The replay was told to stop."""


class DeadLetterDesk:
    """Reads and replays the dead letters of a config, one reading and one replay at a time. Owned by the loop."""

    def __init__(self, config: Config, embedded_at: str | None) -> None:
        """``embedded_at``: the address of the embedded broker, if there is one."""
        self._config = config
        self._embedded_at = embedded_at
        self._reading = asyncio.Lock()
        self._replay: ReplayState | None = None
        self._work: asyncio.Task[None] | None = None
        self._stopping = False

    def state(self) -> dict[str, Any]:
        """The latest replay, for JSON."""
        return {} if self._replay is None else {"replay": asdict(self._replay)}

    async def groups(self) -> dict[str, Any]:
        """What failed, by topic and cause, what is open first. Raises ``DeadLettersError``, ``Refusal``."""

        def read(_: Cluster, reader: Reader) -> dict[str, Any]:
            known = reader.topics()
            contents = _read(reader, known, dead_letter_topics(self._config, known))
            groups = grouped(contents, contents.letters.values())
            groups.sort(key=lambda group: (group.open == 0, -group.last_ms))
            documents = [_shown(group_document(group)) for group in groups[:MAX_GROUPS]]
            return {"groups": documents, "left_out": max(0, len(groups) - MAX_GROUPS)}

        async with self._reading:
            return await self._in_thread(read)

    async def letter(self, topic: str, which: str) -> dict[str, Any]:
        """A letter: the named one, or the last failure of a group. Raises ``DeadLettersError``, ``Refusal``."""
        choice = _choice(which)

        def read(_: Cluster, reader: Reader) -> dict[str, Any]:
            contents = self._read_topic(reader, reader.topics(), topic)
            letter = max(filter(choice.has, contents.letters.values()), key=_last_failure, default=None)
            if letter is None:
                raise Refusal(404, f"there is no dead letter {shown(which)} in {shown(topic)} any more")
            stored = reader.fetch([letter])[letter.place]
            made: dict[str, Any] = _shown(document(letter, stored, not contents.is_open(letter)))
            return made

        async with self._reading:
            return await self._in_thread(read)

    def replay(self, topic: str, which: str, operator: str) -> dict[str, Any]:
        """Begin the replay of a letter or a group. Its progress is in `state`. Raises ``Refusal``.

        ``operator``: who wants it, for the log.
        """
        choice = _choice(which)
        if self._work is not None and not self._work.done():
            raise Refusal(409, "a replay is running; wait for its end, or stop it")
        self._stopping = False
        self._replay = ReplayState(shown(topic), shown(which), "running", round(time.time() * 1000))
        _log.info("replaying dead letters, as told on the page", topic=topic, which=which, operator=operator)
        self._work = asyncio.get_running_loop().create_task(self._run(self._replay, topic, choice))
        return self.state()

    async def stop(self) -> dict[str, Any]:
        """Stop the replay, if there is one, after the transaction that is open; wait ``STOP_TIMEOUT_S`` for it."""
        self._stopping = True
        if self._work is not None:
            await asyncio.wait([self._work], timeout=STOP_TIMEOUT_S)
        return self.state()

    async def _run(self, state: ReplayState, topic: str, choice: Choice) -> None:
        try:
            await self._in_thread(lambda cluster, reader: self._replay_all(cluster, reader, state, topic, choice))
        except _StoppedError:
            state.state = "stopped"
        except (DeadLettersError, Refusal, ValueError) as error:
            state.state, state.text = "failed", shown(str(error))
        except Exception as error:
            state.state, state.text = "failed", f"{type(error).__name__}: the sidecar's log has the rest"
            _log.exception("the replay broke; please report it")
        else:
            state.state = "finished"
        _log.info("the replay has ended", topic=topic, how=state.state, replayed=state.replayed, error=state.text)

    def _replay_all(self, cluster: Cluster, reader: Reader, state: ReplayState, topic: str, choice: Choice) -> None:
        """Runs in a thread. Raises ``ValueError`` when a record has nowhere to go, before anything is written."""
        known = reader.topics()
        contents = self._read_topic(reader, known, topic, self._go_on)
        steps = replay_plan(contents, choice)
        state.total = len(steps)
        for step in steps:
            target(step.letter, None, known)
        run = ReplayRun(cluster, reader, known, Manner())

        def advance(_: int) -> None:
            state.replayed = run.replayed
            self._go_on()

        run.run(topic, steps, contents, advance)

    def _read_topic(
        self, reader: Reader, known: dict[str, int], topic: str, go_on: Callable[[], None] = lambda: None
    ) -> Contents:
        """The contents of one dead-letter topic. Only those of the config's lambdas are read here."""
        if topic not in dead_letter_topics(self._config, known):
            raise Refusal(404, f"{shown(topic)} is no dead-letter topic of this sidecar's lambdas")
        return _read(reader, known, [topic], go_on)

    def _go_on(self) -> None:
        """Called in the replay's thread, again and again. Raises ``_StoppedError`` when it should end."""
        if self._stopping:
            raise _StoppedError

    async def _in_thread(self, work: Callable[[Cluster, Reader], T]) -> T:
        def call() -> T:
            cluster = Cluster(self._config, self._embedded_at)
            with Reader(cluster) as reader:
                return work(cluster, reader)

        return await in_thread(call, "dead-letters-page")


def _read(
    reader: Reader, known: dict[str, int], topics: list[str], go_on: Callable[[], None] = lambda: None
) -> Contents:
    read = 0

    def advance(count: int) -> None:
        nonlocal read
        read += count
        if read > MAX_LETTERS:
            raise Refusal(422, _TOO_MANY)
        go_on()

    return reader.read(partitions_of(topics, known), advance)


def _choice(which: str) -> Choice:
    try:
        return chosen([parse_which(which)])
    except ValueError as error:
        raise Refusal(400, shown(str(error))) from None


def _last_failure(letter: Letter) -> tuple[int, Place]:
    return letter.last_ms, letter.place


def _shown(value: Any, name: str = "") -> Any:
    """A document in which every text can be shown: JSON laid out, lines kept, all characters visible."""
    if isinstance(value, str):
        laid = laid_out(value) if name in {"key", "value"} else None
        text = value if laid is None else laid
        left = len(text) - MAX_SHOWN_CHARACTERS
        more = f"\n... and {left} characters more" if left > 0 else ""
        return visible_lines(text[:MAX_SHOWN_CHARACTERS]) + more
    if isinstance(value, dict):
        return {visible_lines(str(key)): _shown(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(inner) for inner in value]
    return value
