"""Plays the evening and writes docs/operate/evening.md: `make evening`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.integration.evening.play import Evening
from tests.integration.harness import ROOT
from tests.servers.kafka import KafkaServer

PAGE = ROOT / "docs/operate/evening.md"

HEAD = """# An evening on call

Five things happen to one lambda in one evening. For each, this page shows what `kafka-sidecar explain` says, and what
helped. All of it is the output of a program that does it on a real Kafka: `make evening` writes the page, and a test
plays it (`tests/integration/test_evening.py`).
"""


def main() -> None:
    """Play, and write the page."""
    with tempfile.TemporaryDirectory(prefix="ks-") as folder, KafkaServer() as kafka:
        evening = Evening(kafka, Path(folder))
        try:
            evening.run()
        finally:
            evening.close()
        PAGE.write_text(f"{HEAD}\n{evening.transcript.page()}")


if __name__ == "__main__":
    main()
