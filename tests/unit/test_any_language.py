"""docs/any-language.md shows the programs that the tests run."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(
    r"^\[(?P<file>[^\]]+)\]\(\.\./(?P=file)\)\n\n```\w+\n(?P<code>.*?)\n```$", re.MULTILINE | re.DOTALL
)


def test_each_program_is_its_file() -> None:
    text = (ROOT / "docs" / "any-language.md").read_text()
    shown = {block["file"]: block["code"] for block in _BLOCK.finditer(text)}
    assert {Path(file).suffix for file in shown} == {".py", ".go", ".js", ".java"}
    for file, code in shown.items():
        assert code == (ROOT / file).read_text().rstrip(), f"{file} has changed: copy it into docs/any-language.md"
