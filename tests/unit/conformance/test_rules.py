"""The rules of the kit are those of docs/protocol.md, and each has a case."""

from __future__ import annotations

import re
from pathlib import Path

from sidecar.conformance.cases import CASES
from sidecar.conformance.rules import RULES

_DOC = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")


def test_document_and_kit_agree() -> None:
    text = " ".join(_DOC.split())
    for number, rule in RULES.items():
        assert f"**R{number}.** {rule}" in text


def test_document_has_no_other_rules() -> None:
    assert sorted(map(int, re.findall(r"\*\*R(\d+)\.\*\*", _DOC))) == sorted(RULES)


def test_each_rule_has_a_case() -> None:
    assert {case.rule for case in CASES.values()} == set(RULES)


def test_words_are_those_of_the_document() -> None:
    doc = (Path(__file__).parents[3] / "docs" / "conformance.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `([a-z-]+)=", doc, re.MULTILINE))
    used = {word.partition("=")[0] for case in CASES.values() for word in case.do.split()}
    assert used == known
