"""Two sidecars of one group, operated as one: who owns what, and an order that goes to the owner."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from sidecar.commands.client import TIMEOUT_S
from tests.integration.conftest import _staged, need
from tests.integration.harness import NAME, PATIENCE, ROOT, Broker, Sidecar, Stage, wait_for
from tests.servers.kafka import missing_requirements
from tests.servers.process import free_ports
from tests.servers.secured import PASSWORD, SecuredKafka
from tests.servers.two_ways import TwoWayKafka, lacks_ipv6

PARTITIONS = 4


@dataclass
class Pair:
    """Two sidecars that share the partitions of a topic, each with a lambda process."""

    stage: Stage
    first: Sidecar
    second: Sidecar

    @property
    def addresses(self) -> tuple[str, ...]:
        """The options that name both."""
        return ("--address", f"{self.first.address},{self.second.address}")

    def owner(self, partition: int) -> tuple[Sidecar, Sidecar]:
        """The owner of a partition, and the other one."""
        both = self.first, self.second
        return both if partition in self.first.partitions() else (self.second, self.first)

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command about both."""
        command, *options = arguments
        return self.first.cli(command, *options, *self.addresses)


def run(*arguments: str, config: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with this config file."""
    command = [sys.executable, "-m", "sidecar", "--config", str(config), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)


@pytest.fixture
def pair(kafka_stage: Stage) -> Pair:
    """Two sidecars of one group on real Kafka, after the rebalance."""
    stage = kafka_stage
    stage.create_topic(PARTITIONS)
    first = stage.sidecar()
    stage.process(first)
    second = stage.sidecar(label="second")
    stage.process(second, "p2")
    half = PARTITIONS // 2
    wait_for(
        lambda: len(first.partitions()) == len(second.partitions()) == half, "each to have its half", 2 * PATIENCE
    )
    for partition in range(PARTITIONS):
        wait_for(lambda n=partition: "running" in (first.state(n), second.state(n)), "all to run")  # type: ignore[misc]
    return Pair(stage, first, second)


@pytest.fixture(scope="module")
def two_ways() -> Iterator[TwoWayKafka]:
    """One broker for which sidecars of this machine are on two hosts."""
    need(missing_requirements() or lacks_ipv6())
    with TwoWayKafka() as server:
        yield server


@pytest.fixture
def spread(two_ways: TwoWayKafka, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage on the broker of `two_ways`."""
    yield from _staged(Broker("kafka", two_ways.address), tmp_path, request)


@pytest.mark.kafka
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_names_its_sidecars(spread: Stage, two_ways: TwoWayKafka, tmp_path: Path, protocol: str) -> None:
    """Kafka knows their hosts, and the config their port. A third one, on another port, is missed and named."""
    stage = spread
    stage.create_topic(PARTITIONS)
    port, other = free_ports(2)

    def started(label: str, listen: str, servers: str) -> Sidecar:
        config = stage.config(kafka={"group.protocol": protocol, "bootstrap.servers": servers}, label=label)
        config["server"] = {"listen": listen, "insecure": True}
        sidecar = stage.sidecar(config, label)
        stage.process(sidecar, f"p-{label}")
        return sidecar

    # An operator's config: as those of the sidecars in a cluster, whose hosts differ and not the port.
    config = stage.config(kafka={"bootstrap.servers": two_ways.address})
    config["server"] = {"listen": f"0.0.0.0:{port}", "insecure": True}
    path = tmp_path / "operator.yaml"
    path.write_text(yaml.safe_dump(config))
    empty = run("status", "--group", f"{stage.group}-none", config=path)
    assert empty.returncode == 1
    assert "has no members now; a sidecar joins it when its first lambda process connects" in empty.stderr
    four = started("four", f"127.0.0.1:{port}", two_ways.address)
    six = started("six", f"[::1]:{port}", two_ways.six)
    wait_for(lambda: len(four.partitions()) == len(six.partitions()) == 2, "two for each", 2 * PATIENCE)
    done = run("status", "--group", stage.group, config=path)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split()[:3:2] for line in done.stdout.splitlines() if f"{stage.topic}/" in line]
    where = {True: f"127.0.0.1:{port}", False: f"[::1]:{port}"}
    assert rows == [[where[n in four.partitions()], f"{stage.topic}/{n}"] for n in range(PARTITIONS)]
    assert "owns" not in done.stdout
    for partition in range(PARTITIONS):
        done = run("pause", f"{NAME}/{stage.topic}/{partition}", "--group", stage.group, config=path)
        assert done.returncode == 0, done.stderr
        assert f"Done at {where[partition in four.partitions()]}" in done.stdout

    third = started("third", f"127.0.0.1:{other}", two_ways.address)
    wait_for(third.partitions, "the third to have some", 2 * PATIENCE)
    wait_for(
        lambda: sum(len(one.partitions()) for one in (four, six, third)) == PARTITIONS, "a quiet group", 2 * PATIENCE
    )
    # One partition or two: the ids of the members, which are random, decide who gets the fourth.
    lost = sorted(third.partitions())
    shown = f"{stage.topic}/{lost[0]}" if len(lost) == 1 else f"{stage.topic}/{lost[0]}-{lost[-1]}"
    text = run("status", "--group", stage.group, config=path).stdout
    assert f"nobody owns {shown}" in text
    assert f"Kafka has given {shown} to a member at 127.0.0.1 (client.id kafka-sidecar)" in text


@pytest.mark.kafka
def test_kafka_refuses_to_name_the_members(secured: SecuredKafka, tmp_path: Path) -> None:
    for password, expected in (
        (PASSWORD, "allow the user Describe on the group, or give the sidecars' addresses"),
        ("wrong", "does not answer"),
    ):
        config = {
            "kafka": secured.client(password),
            "server": {"listen": "0.0.0.0:50051", "insecure": True},
            "lambdas": {NAME: {"topic": "t", "group": "g-secret"}},
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        done = run("status", "--group", "g-secret", config=path)
        assert done.returncode == 1
        assert "the members of the group g-secret cannot be read: " in done.stderr
        assert expected in done.stderr
        assert password not in done.stderr


def test_one_table_for_both(pair: Pair) -> None:
    done = pair.cli("status")
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:4] for line in done.stdout.splitlines() if f"{pair.stage.topic}/" in line]
    expected = [[pair.owner(n)[0].address, NAME, f"{pair.stage.topic}/{n}", "running"] for n in range(PARTITIONS)]
    assert rows == expected
    done = pair.cli("status", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    owned = {one["sidecar"]: {p["partition"] for p in one["partitions"]} for one in shown["lambdas"]}
    assert owned == {one.address: set(one.partitions()) for one in (pair.first, pair.second)}


def test_an_order_goes_to_the_owner(pair: Pair) -> None:
    for partition in range(PARTITIONS):
        owner, other = pair.owner(partition)
        target = f"{NAME}/{pair.stage.topic}/{partition}"
        wrong = other.cli("pause", target)
        assert wrong.returncode == 1
        assert "if another sidecar of its group may own it" in wrong.stderr
        done = pair.cli("pause", target, "--reason", "upgrade")
        assert done.returncode == 0, done.stderr
        assert f"Done at {owner.address}" in done.stdout
        assert owner.state(partition) == "paused"
        assert pair.cli("seek", target, "--to", "latest").returncode == 0
        assert f"Done at {owner.address}" in pair.cli("resume", target).stdout
    nobody = pair.cli("pause", f"{NAME}/{pair.stage.topic}/{PARTITIONS}")
    assert nobody.returncode == 1
    assert f"no sidecar owns {NAME}/{pair.stage.topic}/{PARTITIONS} now" in nobody.stderr


def test_one_that_was_killed(pair: Pair) -> None:
    """Until its session is over, Kafka gives its partitions to nobody."""
    pair.second.kill()
    done = pair.cli("status")
    assert done.returncode == 3
    assert f"problem: no sidecar answers at {pair.second.address} (" in done.stdout
    assert "does it run?" in done.stdout
    assert f"{pair.stage.topic}/{min(pair.first.partitions())}" in done.stdout
    mine = f"{NAME}/{pair.stage.topic}/{min(pair.first.partitions())}"
    done = pair.cli("pause", mine)
    assert done.returncode == 0, done.stderr


def test_one_that_is_frozen_is_named_within_its_deadline(pair: Pair) -> None:
    lost = min(pair.second.partitions())
    pair.second.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = pair.cli("status")
        took = time.monotonic() - began
        assert done.returncode == 3
        assert f"problem: no answer from {pair.second.address} in time" in done.stdout
        assert "does a sidecar run there?" in done.stdout
        assert f"{pair.first.address}: kafka-sidecar " in done.stdout
        assert TIMEOUT_S - 1 < took < TIMEOUT_S + PATIENCE / 2, "one deadline for all, and the start of the command"
        done = pair.cli("pause", f"{NAME}/{pair.stage.topic}/{lost}")
        assert done.returncode == 1
        assert "one that did not answer may own it" in done.stderr
    finally:
        pair.second.signal(signal.SIGCONT)
