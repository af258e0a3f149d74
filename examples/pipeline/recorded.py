"""Recorded documents: files NAME.rawdeltas.jsonl, a record of rawdeltas a line, ``{"key": ..., "value": ...}``."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from examples.demo.feed import Feed

PER_TURN, PAUSE = 25, 0.05
"""A pause of this many seconds after this many records, so that a document does not arrive at once."""

SUFFIX = ".rawdeltas.jsonl"


def recordings(folder: Path) -> list[Path]:
    """The files in this folder. Raises ``ValueError`` when there are none."""
    found = sorted(folder.glob(f"*{SUFFIX}"))
    if not found:
        raise ValueError(f"no files *{SUFFIX} in {folder}")
    return found


def records(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """Their records, one of each file in turn: key and value. Raises ``ValueError`` when a line is not a record."""
    files = [_lines(path) for path in paths]
    while files:
        for file in [*files]:
            record = next(file, None)
            if record is None:
                files.remove(file)
            else:
                yield record


def _lines(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                content = json.loads(line)
                key, value = str(content["key"]), content["value"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f'{path}:{number}: no {{"key": ..., "value": ...}} ({error})') from None
            yield key, json.dumps(value, separators=(",", ":")).encode()


class Recorded(Feed):
    """Sends recordings, once."""

    def __init__(self, address: str, topic: str, paths: Sequence[Path]) -> None:
        super().__init__(address, topic)
        self._records = records(paths)
        self.sent = 0
        self.documents: set[str] = set()
        """The documents' names."""
        self._all_sent = False

    @property
    def complete(self) -> bool:
        """See `Feed.complete`. Whether all are numbered and stored is checked elsewhere."""
        return (self._all_sent or self.leaving.is_set()) and self.produced >= self.sent

    def work(self) -> float:
        """See `Feed.work`."""
        if self.leaving.is_set():
            return PAUSE
        try:
            for _ in range(PER_TURN):
                key, value = next(self._records)
                self.send(key, value)
                self.sent += 1
                self.documents.add(key)
        except StopIteration:
            self._all_sent = True
        except ValueError as error:
            self.error = str(error)
        return PAUSE
