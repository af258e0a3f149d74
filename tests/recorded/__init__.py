"""What the published deli and document router answered: recorded, so that it can be played without Node.

``make compare-deli RECORD=1`` makes these files; `tests/comparison` says what is in them.

- ``deli.jsonl.xz``, ``router.jsonl.xz``: sessions, one a line, with ``answers``.
- ``documents.jsonl.xz``: documents as they are on ``rawdeltas``, and what the sequencer made of them.
"""

import hashlib
import json
import lzma
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

SHARED = HERE.parents[1] / "../shared/data/fluid"
"""Documents of another origin, on machines that have them."""

_CACHE = HERE.parents[1] / ".cache" / "recorded"


def sessions(name: str) -> list[dict[str, Any]]:
    """The sessions in ``NAME.jsonl.xz``."""
    with lzma.open(HERE / f"{name}.jsonl.xz", "rt", encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


def write(name: str, entries: list[dict[str, Any]]) -> int:
    """Write the file of this name; answers its size."""
    text = "".join(f"{json.dumps(entry, separators=(',', ':'))}\n" for entry in entries)
    path = HERE / f"{name}.jsonl.xz"
    path.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    return path.stat().st_size


def documents() -> Path:
    """A folder with ``NAME.rawdeltas.jsonl`` and ``NAME.deltas.jsonl`` of each recorded document.

    A line of the first is a record, ``{"key": ..., "value": ...}``; one of the second what is known of the next
    sequenced operation.
    """
    digest = hashlib.sha256((HERE / "documents.jsonl.xz").read_bytes()).hexdigest()[:16]
    folder = _CACHE / digest
    if not folder.exists():
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as made:
            unpacked = Path(made) / "documents"
            unpacked.mkdir()
            for document in sessions("documents"):
                for kind in ("rawdeltas", "deltas"):
                    text = "".join(f"{json.dumps(line)}\n" for line in document[kind])
                    (unpacked / f"{document['name']}.{kind}.jsonl").write_text(text, encoding="utf-8")
            try:
                unpacked.rename(folder)
            except OSError:  # another process was first
                if not folder.exists():
                    raise
    return folder


def all_documents() -> list[Path]:
    """The raw records of all documents that are here: ours, and others where there are any."""
    return sorted(path for folder in (documents(), SHARED) for path in folder.glob("*.rawdeltas.jsonl"))
