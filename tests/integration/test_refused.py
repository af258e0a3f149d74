"""A refusal by Kafka is logged once, and shown in the status and the health until it is over."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient

from sidecar.causes import Cause
from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.committed import CommittedOffsets
from sidecar.cluster.errors import Faults, WatchedConsumer
from sidecar.cluster.inquiries import Inquiries
from sidecar.cluster.topic_watch import TopicWatch, Watched
from sidecar.config.kafka_properties import admin_properties
from sidecar.consuming.connection import Connection
from sidecar.consuming.problems import Problems
from sidecar.mail import letters
from sidecar.mail.boxes import Mailbox
from tests.integration.harness import NAME, Broker, Sidecar, Stage, wait_for
from tests.servers import topics
from tests.servers.process import free_ports
from tests.servers.secured import UNKNOWN_HOST, SecuredKafka
from tests.unit.consuming.recorder import Recorder

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

PATIENCE = 60.0
AT_A_TIME = 3
"""Ways to Kafka. More would keep each other from finding the reason before the problem is reported without one."""
CAUSES = {
    "a wrong password": Cause.WRONG_CREDENTIALS,
    "a mechanism that is not offered": Cause.WRONG_CREDENTIALS,
    "an authority that is not trusted": Cause.TLS_FAILED,
    "TLS to a plain listener": Cause.KAFKA_AWAY,
    "no TLS to a listener of TLS": Cause.KAFKA_AWAY,
    "no password to a listener of passwords": Cause.KAFKA_AWAY,
    "an address that cannot be resolved": Cause.HOST_UNKNOWN,
    "an advertised address that cannot be resolved": Cause.HOST_UNKNOWN,
    "nobody there": Cause.KAFKA_AWAY,
}
CANNOT = ("warning", "Kafka cannot be reached; trying on")


@pytest.fixture
def stage(secured: SecuredKafka, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(Broker("kafka", secured.address), tmp_path, f"refused-{uuid.uuid4().hex[:6]}")
    yield made
    made.close()


def kinds(sidecar: Sidecar) -> set[str]:
    """The kinds of the lambda's problems."""
    sidecar.wait_for_log("listening for lambdas", timeout=PATIENCE)
    return {problem.kind for problem in sidecar.lambda_status().problems}


def eventually_well(sidecar: Sidecar) -> None:
    """Wait until no problem is left, and the health shows that."""
    wait_for(lambda: not kinds(sidecar), lambda: f"no problem, there is {sidecar.lambda_status().problem}", PATIENCE)
    wait_for(lambda: sidecar.health() == "SERVING", "it to be well", PATIENCE)


# --- the way to Kafka -------------------------------------------------------------------------------------------


class Way:
    """A connection with real clients, whose turns the test makes."""

    def __init__(self, properties: dict[str, Any], *names: str) -> None:
        self.recorder = Recorder()
        self.problems = Problems(self.recorder.log)
        self.looks = 0
        client_log = ClientLog(self.recorder.log)
        everything = {**properties, "group.id": "way", "error_cb": self._complain}
        self._consumer = WatchedConsumer(everything, Faults(), client_log)
        self._mailbox = Mailbox()
        admin = AdminClient(dict(admin_properties(properties)), logger=ClientLog(self.recorder.log))
        self._watch = TopicWatch(admin, [Watched(names, None, self._mailbox)])
        offsets = CommittedOffsets("way", {}, self._mailbox, client_log)  # not started: nothing asks it
        ask = Inquiries(admin, offsets, "", self._mailbox).ends
        self.connection = Connection(self.problems, self.recorder.log, self._watch.look, ask, client_log)
        self._watch.start()

    def turn(self) -> bool:
        """Make one turn, like the consumer thread. Returns whether anything was logged."""
        while (letter := self._mailbox.take()) is not None:
            match letter:
                case letters.Topics(facts):
                    self.looks += 1
                    self.connection.reached(facts)
                case letters.TopicsUnknown(error):
                    self.looks += 1
                    self.connection.away(error)
                case letters.Told(then):
                    then()
        self.connection.work(monotonic())
        self._consumer.poll(0.05)
        return bool([line for line in self.recorder.lines if line[0] != "debug"])

    def until_looked_again(self, times: int) -> None:
        """Wait for ``times`` more answers to the topic watch."""
        wanted = self.looks + times

        def looked() -> bool:
            self.turn()
            return self.looks >= wanted

        wait_for(looked, "another look", PATIENCE)

    def close(self) -> None:
        self._watch.stop()
        self._watch.join()
        self._consumer.close()

    def _complain(self, error: KafkaError) -> None:
        self.connection.complain(error, None)


def ways(secured: SecuredKafka) -> dict[str, tuple[dict[str, str], str]]:
    """Ways in which a client may fail, each with the text that must be logged."""
    tls = {"bootstrap.servers": secured.tls, "security.protocol": "ssl"}
    return {
        "a wrong password": (secured.client("wrong"), "Authentication failed: Invalid username or password"),
        "a mechanism that is not offered": (
            {**secured.client(), "sasl.mechanism": "SCRAM-SHA-256"},
            "supported mechanisms: PLAIN",
        ),
        "an authority that is not trusted": (tls, "certificate verify failed"),
        "TLS to a plain listener": (
            {**tls, "bootstrap.servers": secured.address, "ssl.ca.location": str(secured.authority)},
            "security.protocol",  # the broker ends the handshake in varying ways, so the rest of the text varies
        ),
        "no TLS to a listener of TLS": ({"bootstrap.servers": secured.tls}, "security.protocol"),
        "no password to a listener of passwords": ({"bootstrap.servers": secured.sasl}, "security.protocol"),
        "an address that cannot be resolved": ({"bootstrap.servers": f"{UNKNOWN_HOST}:9092"}, UNKNOWN_HOST),
        "an advertised address that cannot be resolved": ({"bootstrap.servers": secured.lost}, UNKNOWN_HOST),
        "nobody there": ({"bootstrap.servers": f"127.0.0.1:{free_ports(1)[0]}"}, "Connection refused"),
    }


@pytest.fixture(scope="module")
def tried(secured: SecuredKafka) -> Iterator[dict[str, Future[Way]]]:
    """Each of these ways, several at a time: each look waits for seconds until it is given up."""
    topic = f"ways-{uuid.uuid4().hex[:6]}"
    topics.create_topic(secured.address, topic)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        yield {what: pool.submit(_try, properties, topic) for what, (properties, _) in ways(secured).items()}


def _try(properties: dict[str, Any], topic: str) -> Way:
    way = Way(properties, topic)
    try:
        wait_for(way.turn, "something to be said", PATIENCE)
        way.until_looked_again(4)
    finally:
        way.close()
    return way


@pytest.mark.parametrize("what", CAUSES)
def test_the_reason_is_the_first_and_only_line(
    secured: SecuredKafka, tried: dict[str, Future[Way]], what: str
) -> None:
    way, (_, reason) = tried[what].result(), ways(secured)[what]
    assert way.recorder.told() == [CANNOT]
    (problem,) = way.problems.now
    assert (problem.kind, problem.blocks, problem.cause) == ("connection", True, CAUSES[what])
    assert reason in problem.text
    assert "alices-secret" not in problem.text


@pytest.mark.parametrize("by", ["password", "TLS"])
def test_a_client_with_the_right_credentials_connects(stage: Stage, secured: SecuredKafka, by: str) -> None:
    stage.create_topic()
    secured.allow([stage.topic])
    tls = {"bootstrap.servers": secured.tls, "security.protocol": "ssl", "ssl.ca.location": str(secured.authority)}
    way = Way(secured.client() if by == "password" else tls, stage.topic)
    try:
        wait_for(way.turn, "something to be said", PATIENCE)
        assert way.recorder.told() == [("info", "connected to Kafka")]
        assert way.problems.ready
    finally:
        way.close()


def test_everybody_can_see_why_kafka_cannot_be_reached(stage: Stage, secured: SecuredKafka) -> None:
    (port,) = free_ports(1)
    config = stage.config(kafka=secured.client("wrong"))
    sidecar = stage.sidecar({**config, "operate": {"listen": f"127.0.0.1:{port}"}})
    line = sidecar.wait_for_log("Kafka cannot be reached", timeout=PATIENCE)
    assert "Authentication failed" in line["error"]
    assert sidecar.health() == "NOT_SERVING"
    shown = sidecar.cli("status", "--address", sidecar.address).stdout
    assert "Authentication failed" in shown
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE)
    with refused.value as answer:
        assert (answer.code, json.load(answer)["ready"]) == (503, False)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE) as answer:
        assert "Authentication failed" in json.load(answer)["problems"][NAME]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        assert f'kafka_sidecar_problem{{kind="connection",lambda="{NAME}"}} 1.0' in answer.read().decode()
    assert sidecar.terminate(PATIENCE) == 0


# --- the group --------------------------------------------------------------------------------------------------


def test_a_session_timeout_that_the_broker_refuses_keeps_us_out_of_the_group(stage: Stage) -> None:
    stage.create_topic()
    sidecar = stage.sidecar(kafka={"session.timeout.ms": 100, "heartbeat.interval.ms": 50})
    stage.process(sidecar)
    wait_for(lambda: "group" in kinds(sidecar), "the group to be a problem", PATIENCE)
    status = sidecar.lambda_status()
    assert status.connected
    assert not status.joined
    assert "session.timeout.ms must lie within" in status.problem
    assert sidecar.health() == "NOT_SERVING"
    assert "not in the group" in sidecar.cli("status", "--address", sidecar.address).stdout
    assert sidecar.terminate(PATIENCE) == 0
    assert len(sidecar.log("Kafka refuses us in the group")) == 1, "said once"


def test_members_without_a_common_protocol_keep_us_out_until_they_leave(stage: Stage) -> None:
    stage.create_topic()
    other = stage.member_with_another_assignor()
    sidecar = stage.sidecar()
    stage.process(sidecar)

    def is_refused() -> bool:
        other.poll(0.01)  # keeps it a member
        return "group" in kinds(sidecar)

    wait_for(is_refused, "the group to be a problem", PATIENCE)
    assert "partition.assignment.strategy" in sidecar.lambda_status().problem
    assert not sidecar.lambda_status().joined
    other.close()
    stage.produce_numbers(5)
    stage.wait_until_handled(timeout=PATIENCE)
    eventually_well(sidecar)
    assert sidecar.lambda_status().joined


def test_a_member_without_partitions_is_in_the_group(stage: Stage) -> None:
    """Two sidecars share one partition: the one without it is still a member."""
    stage.create_topic()
    for protocol in ("classic", "consumer"):
        options: dict[str, Any] = {"kafka": {"group.protocol": protocol}, "group": f"{stage.group}-{protocol}"}
        both = [stage.sidecar(label=f"{protocol}{number}", **options) for number in (1, 2)]
        for number, sidecar in enumerate(both):
            stage.process(sidecar, f"p-{protocol}-{number}")
        for sidecar in both:
            sidecar.wait_for_log("listening for lambdas", timeout=PATIENCE)
            wait_for(lambda one=sidecar: one.lambda_status().joined, "it to be a member", PATIENCE)  # type: ignore[misc]
            eventually_well(sidecar)
        wait_for(lambda pair=both: sum(len(s.partitions()) for s in pair) == 1, "one to have it", PATIENCE)  # type: ignore[misc]
        for sidecar in both:
            assert sidecar.terminate(PATIENCE) == 0


# --- rights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
@pytest.mark.parametrize("right", ["group", "topic"])
def test_a_missing_or_revoked_right_is_reported(
    stage: Stage, secured: SecuredKafka, protocol: str, right: str
) -> None:
    stage.create_topic()
    of: dict[str, Any] = {"groups": [stage.group]} if right == "group" else {"topics": [stage.topic]}
    secured.allow([stage.topic], [stage.group])
    secured.forbid(**of)
    sidecar = stage.sidecar(kafka={**secured.client(), "group.protocol": protocol})
    stage.process(sidecar)
    wait_for(lambda: kinds(sidecar) - {"connection"}, "a problem", PATIENCE)
    problem = sidecar.lambda_status().problem
    assert "uthorization failed" in problem

    secured.allow(**of)
    stage.produce_numbers(5)
    stage.wait_until_handled(timeout=PATIENCE)
    eventually_well(sidecar)

    secured.forbid(**of)
    stage.produce_numbers(5, first=5)
    wait_for(lambda: kinds(sidecar), "a problem again", PATIENCE)
    assert "uthorization failed" in sidecar.lambda_status().problem
    wait_for(lambda: sidecar.health() == "NOT_SERVING", "it to be seen", PATIENCE)

    secured.allow(**of)
    stage.wait_until_handled(timeout=PATIENCE)
    stage.wait_until_caught_up(timeout=PATIENCE)
    eventually_well(sidecar)
    assert sidecar.terminate(PATIENCE) == 0


def test_a_restored_right_to_read_is_noticed_without_new_records(stage: Stage, secured: SecuredKafka) -> None:
    """Kafka's client reports once that it may not read, and never that it may again.

    The error comes from a fetch, and the partition stays, or from the topic's metadata, and the partition is lost.
    """
    stage.create_topic()
    secured.allow([stage.topic], [stage.group])
    sidecar = stage.sidecar(kafka=secured.client())
    stage.process(sidecar)
    stage.produce_numbers(5)
    stage.wait_until_handled(timeout=PATIENCE)
    stage.wait_until_caught_up(timeout=PATIENCE)
    secured.forbid([stage.topic])
    wait_for(lambda: kinds(sidecar) - {"connection"}, "a problem", PATIENCE)
    wait_for(lambda: sidecar.health() == "NOT_SERVING", "it to be seen", PATIENCE)
    assert "uthorization failed" in sidecar.lambda_status().problem
    secured.allow([stage.topic])
    eventually_well(sidecar)


# --- topics -----------------------------------------------------------------------------------------------------


def test_a_deleted_topic_does_not_hide_errors_of_the_other(stage: Stage) -> None:
    gone = f"{stage.topic}-gone"
    stage.create_topic()
    topics.create_topic(stage.broker.address, gone, 1)
    config = stage.config()
    lambda_ = config["lambdas"][NAME]
    del lambda_["topic"]
    lambda_["topics"] = [stage.topic, gone]
    sidecar = stage.sidecar(config)
    stage.process(sidecar)
    stage.produce_numbers(5)
    topics.produce(stage.broker.address, gone, [topics.Record(value=b"x", partition=0)])
    stage.wait_until_handled(6, timeout=PATIENCE)
    topics.delete_topic(stage.broker.address, gone)
    stage.produce_numbers(5, first=5)
    wait_for(lambda: gone in sidecar.lambda_status().problem, "the status to name it", PATIENCE)
    stage.wait_until_caught_up(timeout=PATIENCE)

    def healthy() -> bool:
        of = [one for one in sidecar.lambda_status().partitions if one.topic == stage.topic]
        return len(of) == 1 and of[0].committed == 10

    wait_for(healthy, "COMMITTED of the healthy one", PATIENCE)
    assert sidecar.health() == "SERVING", "the other goes on"
    assert len(sidecar.log("the topic does not exist", topic=gone)) <= 1
    assert len(sidecar.log("commit refused", topic=gone)) <= 1
    assert not sidecar.log("commit refused", topic=stage.topic)
