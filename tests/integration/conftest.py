"""Fixtures of the suite: one broker of each kind for the whole session, a stage for each test."""

from __future__ import annotations

import os
import re
import uuid
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.integration.harness import Broker, Stage
from tests.servers import ferretdb, prepare
from tests.servers.ferretdb import FerretServer
from tests.servers.kafka import KafkaCluster, KafkaServer, missing_requirements
from tests.servers.prepare import REQUIRED
from tests.servers.secured import SecuredKafka
from tests.servers.tansu import TansuServer
from tests.unit.sdk.conftest import host  # noqa: F401  # the fixture: a sidecar that does what the test says

_TOOLS = {
    "kafka": prepare.KAFKA,
    "two_brokers": prepare.KAFKA,
    "ferret": prepare.FERRETDB,
    "images": prepare.WHEELS,
    "installed": prepare.WHEELS,
}
"""The tools that a test needs, by its markers and fixtures."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests take longest, which their timeouts tell, and then with those of most tests.

    A process gets whole files. With a long one at the end, the other processes would have nothing to do meanwhile.
    """
    longest: dict[Path, float] = {}
    for item in items:
        mark = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0.0), mark.args[0] if mark else 0.0)
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: (-longest[item.path], -counts[item.path]))  # stable: no file's order changes


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch and build the tools of the chosen tests before the first test, whose timeout would include it.

    A missing tool is reported here, and again by the fixture that needs it.
    """
    if session.config.option.collectonly:
        return
    needed = [
        tool
        for name, tool in _TOOLS.items()
        if any(name in item.keywords or name in getattr(item, "fixturenames", ()) for item in session.items)
    ]
    for problem in prepare.prepare(dict.fromkeys(needed), print):
        print(problem)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """Real Kafka, for features that the embedded broker lacks."""
    need(missing_requirements())
    with KafkaServer() as server:
        yield Broker("kafka", server.address)


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    """Real Kafka with two brokers, for `two_brokers`."""
    need(missing_requirements())
    with KafkaCluster() as cluster:
        yield cluster


@pytest.fixture
def two_brokers(cluster: KafkaCluster) -> KafkaCluster:
    """Real Kafka with two brokers: a test may kill the second."""
    second = cluster.broker(2)
    if not second.running:
        second.start()
    return cluster


@pytest.fixture(scope="session")
def secured() -> Iterator[SecuredKafka]:
    """Real Kafka with passwords, TLS and an authorizer."""
    need(missing_requirements())
    with SecuredKafka() as server:
        yield server


@pytest.fixture(scope="session")
def embedded() -> Iterator[Broker]:
    """The broker of `bootstrap.servers: embedded`."""
    with TansuServer() as server:
        yield Broker("embedded", server.address)


@pytest.fixture(scope="session")
def ferret() -> Iterator[FerretServer]:
    """A database with MongoDB's protocol. A test that stops it starts it again."""
    need(ferretdb.missing_requirements())
    with FerretServer() as server:
        yield server


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each of the two brokers in turn, for tests of behaviour that is the same on both."""
    chosen: Broker = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
def stage(broker: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage on each of the two brokers."""
    yield from _staged(broker, tmp_path, request)


@pytest.fixture
def kafka_stage(kafka: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage on real Kafka."""
    yield from _staged(kafka, tmp_path, request)


@pytest.fixture
def secured_stage(secured: SecuredKafka, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage on Kafka with passwords, on which nobody has a right yet. The stage itself may do anything."""
    yield from _staged(Broker("kafka", secured.address), tmp_path, request)


@pytest.fixture
def cluster_stage(two_brokers: KafkaCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage on the two brokers of `two_brokers`."""
    yield from _staged(Broker("kafka", two_brokers.address), tmp_path, request)


@pytest.fixture
def embedded_stage(embedded: Broker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage on the embedded broker, for tests that do not depend on the broker."""
    yield from _staged(embedded, tmp_path, request)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the output of a failed test's processes."""
    report = yield
    if report.when == "call" and report.failed:
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Stage):
                report.sections.append(("What the processes wrote", value.logs()))
    return report


def need(missing: str | None) -> None:
    """Skip the test if this machine lacks something, or fail it if `REQUIRED` is set."""
    if missing is not None:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set: {missing}", pytrace=False)
        pytest.skip(missing)


def _staged(broker: Broker, folder: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")[:40]
    stage = Stage(broker, folder, f"{name}-{uuid.uuid4().hex[:6]}")
    try:
        yield stage
    finally:
        stage.close()
