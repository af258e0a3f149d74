"""Golden files: the expected text of a test in a file of its own, where people can read it.

A new or changed text fails its test, which shows the difference. If the text reads well, write it into its file:

    GOLDEN=update python -m pytest tests/unit/config tests/unit/deploy
"""

from __future__ import annotations

import os
from pathlib import Path

UPDATE = "GOLDEN"
"""The environment variable that, with the value `update`, lets tests write the golden files."""


def check(path: Path, text: str) -> None:
    """Compare ``text`` with the golden file, or write it there. Raises ``AssertionError`` when they differ."""
    if os.environ.get(UPDATE) == "update":
        path.write_bytes(text.encode())
        return
    how = f"if it reads well: {UPDATE}=update python -m pytest"
    assert path.is_file(), f"there is no {path}, which should have:\n{text}\n{how}"
    assert text == path.read_bytes().decode(), f"{path} has another text; {how}"
