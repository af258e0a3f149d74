"""`make pipeline`, as a user runs it: on given servers, and on servers that it starts itself."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from pymongo import MongoClient

from tests.integration.conftest import need
from tests.integration.harness import Broker, wait_for
from tests.integration.test_demo import Demo
from tests.recorded import documents
from tests.servers import ferretdb, kafka as kafka_server
from tests.servers.ferretdb import FerretServer

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes by /proc"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, since it will contain a socket."""
    with tempfile.TemporaryDirectory(prefix="pipe-") as name:
        yield Path(name)


def pipeline(folder: Path, *arguments: str) -> Demo:
    return Demo(folder, *arguments, module="examples.pipeline")


def test_the_database_dies_and_comes_back(folder: Path, kafka: Broker, ferret: FerretServer) -> None:
    """The pause and its end are shown, each number is stored once, and nothing stays on the given servers."""
    run = pipeline(folder, "--kafka", kafka.address, "--mongo", ferret.url)
    try:
        run.wait_for(r" stored \d+/s, [1-9]\d* of \d+ .*running deli 4/4  scriptorium 4/4")
        ferret.kill()
        seen = len(run.lines)
        run.wait_for(
            r"scriptorium partition paused by its lambda: [\d ]+ \(operations cannot be stored: .*Connect", seen
        )
        run.wait_for(r"^      scriptorium [\d, ]+ paused: operations cannot be stored", seen)
        ferret.start()
        run.wait_for(r"scriptorium goes on after its pause:", seen)
        run.wait_for(r"running deli 4/4  scriptorium 4/4", len(run.lines))
        killed = int(run.wait_for(r"deli process (\d+) is here")[1])
        seen = len(run.lines)
        os.kill(killed, signal.SIGKILL)
        run.wait_for(r"deli process \d+ is here, [\d.]+ s later", seen)
        run.wait_for(r"running deli 4/4  scriptorium 4/4", len(run.lines))
        run.process.send_signal(signal.SIGINT)
        assert run.ended() == 0, run.text()
        check(run)
        assert run.summary("restarts") == 1
        run.wait_for(r"its topics, groups and collection are removed again")
        # The broker's metadata shows a deletion a moment after its acknowledgement.
        topics = AdminClient({"bootstrap.servers": kafka.address}).list_topics
        wait_for(
            lambda: not [name for name in topics(timeout=60).topics if name.startswith("pipeline-")], "no topics"
        )
        with MongoClient[dict[str, object]](ferret.url) as client:
            assert client["kafka_sidecar_pipeline"].list_collection_names() == []
    finally:
        if not ferret.running:
            ferret.start()
        run.close()
    wait_for(lambda: not run.processes(), lambda: f"still running: {run.processes()}")


@pytest.mark.ferret
def test_recorded_documents_on_its_own_servers(folder: Path) -> None:
    need(kafka_server.missing_requirements())
    need(ferretdb.missing_requirements())
    run = pipeline(folder, "--recorded", str(documents()))
    try:
        assert run.ended() == 0, run.text()
        check(run)
        paths = [*documents().glob("*.rawdeltas.jsonl")]
        assert run.summary("records sent") == sum(len(path.read_bytes().splitlines()) for path in paths)
        wanted = [path.with_name(path.name.replace("rawdeltas", "deltas")) for path in paths]
        # At least: recordings do not contain deli's own messages at the end, such as a noClient.
        assert run.summary("numbers given") >= sum(len(path.read_bytes().splitlines()) for path in wanted)
        assert not run.processes()
        assert [path.name for path in folder.glob("*/*")] == ["sidecar.log"], "nothing of the servers is left"
    finally:
        run.close()


def check(run: Demo) -> None:
    """Check that the summary is consistent, and that the run made its own check."""
    assert run.summary("stored") == run.summary("numbers given") > 50, run.text()
    assert run.summary("without one") == run.summary("refused") == 0
    run.wait_for(r"^  check +each document's numbers from 1 on are stored, each once$")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--kafka", "127.0.0.1:1", "--mongo", "mongodb://127.0.0.1:1"],
            r"^error: no Kafka answers at 127\.0\.0\.1:1: ",
        ),
        (["--recorded", "/nowhere"], r"^error: no files \*\.rawdeltas\.jsonl in /nowhere$"),
    ],
)
def test_missing_servers_are_reported(folder: Path, arguments: list[str], words: str) -> None:
    run = pipeline(folder, *arguments)
    try:
        assert run.ended() == 1
        run.wait_for(words)
        assert not [*folder.iterdir()]
    finally:
        run.close()


def test_an_invalid_url_is_not_printed(folder: Path, kafka: Broker) -> None:
    run = pipeline(folder, "--kafka", kafka.address, "--mongo", "mongodb://user:secret@word@host")
    try:
        assert run.ended() == 1
        run.wait_for(r"^error: --mongo: no valid MongoDB url")
        assert "secret" not in run.text()
    finally:
        run.close()
