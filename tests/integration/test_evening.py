"""The evening of docs/operate/evening.md is played on real Kafka; each step waits for the cause that it is about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.conftest import need
from tests.integration.evening.__main__ import PAGE
from tests.integration.evening.play import Evening
from tests.servers.kafka import KafkaServer, missing_requirements


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_the_evening(tmp_path: Path) -> None:
    need(missing_requirements())
    with KafkaServer() as kafka:
        evening = Evening(kafka, tmp_path)
        try:
            evening.run()
        except AssertionError:
            print(evening.transcript.page())
            raise
        finally:
            evening.close()
    said = evening.transcript.page()
    for text in (
        "has no amount",
        "RuntimeError: the tax table is missing",
        "its window is full (100 messages since",
        "Kafka cannot be reached",
        "Done at two:50051, which owns it.",
        "replayed 1 of 1 record",
    ):
        assert text in said
    shown = PAGE.read_text()
    assert [line for line in shown.splitlines() if line.startswith("## ")] == evening.transcript.headings
    assert re.findall(r"^\$ (.*)$", shown, re.MULTILINE) == evening.transcript.commands, "make evening writes it anew"
