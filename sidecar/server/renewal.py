"""Token files and certificates are read again when they change, without a restart.

Whoever replaces a file may do so in steps: the file is empty or missing for a moment, or the key is there before its
certificate. So contents that cannot be used change nothing: the last good ones stay, the log and `status` say so, and
the files are read again until they can be used.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Generic, TypeVar

from sidecar.logs import get_logger
from sidecar.status import Problem

LOOK_INTERVAL_S = 1.0
"""The time between two looks at the files. A look costs a `stat` for each."""

SETTLED_S = 2.0
"""A file that was written within this time before it was read is read again: the clock of a file system is coarse, so
another write of the same length may leave all that `stat` tells as it is."""

MAX_FILE_BYTES = 1024 * 1024
"""The size of one file: authorities of a whole company are smaller."""

T = TypeVar("T")
_Signature = tuple[tuple[int, ...], ...]

_log = get_logger(__name__)


class Renewed(Generic[T]):
    """What is made of some files, made again when one of them changes."""

    def __init__(
        self, what: str, kind: str, files: Sequence[Path], make: Callable[[list[bytes]], T], use: Callable[[T], None]
    ) -> None:
        """Nothing is read yet.

        Args:
            what: the place in the config, for people.
            kind: the problem's stable word, for machines.
            files: in the order in which ``make`` wants their contents.
            make: raises ``ValueError`` with the problem and the remedy. Called in any thread.
            use: gets what was made, at first and after each change. Called on the loop.
        """
        self.problem: Problem | None = None
        """Why the files cannot be used now, while what was made before is used."""
        self._what, self._kind, self._files = what, kind, files
        self._make, self._use = make, use
        self._seen: _Signature | None = None
        self._contents: list[bytes] | None = None

    def first(self) -> None:
        """Read the files for the first time. Raises ``OSError``, which says what is wrong."""
        found = self.look()
        if isinstance(found, Exception):
            raise OSError(self._explained(found))
        assert found is not None
        self._use(found[0])

    def look(self) -> tuple[T] | Exception | None:
        """Look at the files: what they make now, or why they cannot be used, or None: nothing new.

        Called in any thread, while the loop awaits it.
        """
        try:
            return self._look()
        except (ValueError, OSError) as error:
            return error

    def take(self, found: tuple[T] | Exception | None) -> None:
        """Use what `look` has found. Called on the loop."""
        if isinstance(found, Exception):
            self._fail(f"{self._explained(found)}; until then its last good contents are used")
            return
        if found is not None:
            self._use(found[0])
            _log.info("changed files are in use", setting=self._what, files=[*map(str, self._files)])
        elif self.problem is not None:
            _log.info("files can be used again; they are as before", setting=self._what)
        self.problem = None

    def _fail(self, text: str) -> None:
        since = monotonic() if self.problem is None else self.problem.since
        if self.problem is None or self.problem.text != text:
            _log.warning("a changed file is not used", error=text)
        self.problem = Problem(self._kind, text, since, blocks=False)

    def _look(self) -> tuple[T] | None:
        """What the files make; None: nothing new. Raises ``ValueError`` and ``OSError``."""
        signature, latest = _signature(self._files)
        if signature == self._seen and self.problem is None:
            return None
        self._seen = None
        contents = self._read()
        made = None
        if contents != self._contents:
            made = (self._make(contents),)
            if self._read() != contents:
                raise ValueError("it changes while it is read")
            self._contents = contents
        if time.time() - latest > SETTLED_S:
            self._seen = signature
        return made

    def _read(self) -> list[bytes]:
        return [_contents(file) for file in self._files]

    def _explained(self, error: Exception) -> str:
        files = ", ".join(map(str, self._files))
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        return f"{self._what}: {files} cannot be used: {reason}"


def _signature(files: Sequence[Path]) -> tuple[_Signature, float]:
    """What tells that a file has changed, and when the latest change was, in seconds since the Unix epoch.

    The files that symbolic links lead to are looked at: Kubernetes replaces a link.
    """
    found = [file.stat() for file in files]
    signature = tuple((one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in found)
    return signature, max(max(one.st_mtime, one.st_ctime) for one in found)


def _contents(file: Path) -> bytes:
    with file.open("rb") as opened:
        data = opened.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"{file} has more than {MAX_FILE_BYTES} bytes")
    return data


class Renewals:
    """Everything of one server that is made of files. Owned by the loop."""

    def __init__(self, renewed: Sequence[Renewed[Any]]) -> None:
        self._renewed = renewed

    def first(self) -> None:
        """Read all files for the first time. Raises ``OSError``, which says what is wrong."""
        for one in self._renewed:
            one.first()

    async def watch(self) -> None:
        """Look at all files again and again, until cancelled. Returns at once if there are none."""
        while self._renewed:
            await asyncio.sleep(LOOK_INTERVAL_S)
            await self.look()

    async def look(self) -> None:
        """Look at all files once, in one step of another thread: a file system may be slow."""
        found = await asyncio.to_thread(lambda: [one.look() for one in self._renewed])
        for one, what in zip(self._renewed, found, strict=True):
            one.take(what)

    def problems(self) -> list[Problem]:
        """Files that cannot be used now."""
        return [one.problem for one in self._renewed if one.problem is not None]
