"""Each security setting over real sockets: the wrong client is refused, the right one works. Real processes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from sdk_python._tls import Tls
from sdk_python.protocol import lambda_pb2 as pb
from sidecar.commands import client
from sidecar.commands.target import Target
from tests.integration import checks
from tests.integration.hand_client import HandClient, hand_client
from tests.integration.harness import LAMBDAS, NAME, Program, Sidecar, Stage, wait_for
from tests.servers.process import free_ports
from tests.unit.server.test_access import authority, signed

OTHER = "other"
"""A second lambda, which most identities may not offer for."""

UNAUTHENTICATED, NOT_FOUND = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.NOT_FOUND
DENIED, UNAVAILABLE = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE
WORKS = grpc.StatusCode.OK


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities, with certificates of the sidecar and of its clients."""
    directory = tmp_path_factory.mktemp("pem")
    for name in ("ca", "foreign"):
        authority(directory, name)
    signed(directory, "server", "ca")
    signed(directory, "renewed", "foreign")
    signed(directory, "billing", "ca", "DNS:billing.example")
    signed(directory, "guest", "ca", "DNS:guest.example")
    signed(directory, "spy", "foreign", "DNS:billing.example")
    return directory


class Gate(NamedTuple):
    """How a sidecar is reached."""

    address: str
    pem: Path
    security: str
    """`plain`, `tls` or `mutual`."""

    @property
    def settings(self) -> dict[str, Any]:
        """The section `server` of the sidecar's config, without its tokens."""
        if self.security == "plain":
            return {"listen": self.address}
        tls = {"certificate": str(self.pem / "server.pem"), "key": str(self.pem / "server.key")}
        if self.security == "mutual":
            tls["client_ca"] = str(self.pem / "ca.pem")
        return {"listen": self.address, "tls": tls}

    def tls(self, certificate: str | None = None, ca: str = "ca") -> Tls | None:
        """What a client needs; ``certificate``: which one it shows, in mutual TLS."""
        if self.security == "plain":
            return None
        authorities = (self.pem / f"{ca}.pem").read_bytes()
        if certificate is None or self.security == "tls":
            return Tls(authorities, name="localhost")
        shown, key = ((self.pem / f"{certificate}.{kind}").read_bytes() for kind in ("pem", "key"))
        return Tls(authorities, shown, key, name="localhost")


def gate(stage: Stage, pem: Path, transport: str, security: str) -> Gate:
    address = f"unix://{stage.folder}/gate.sock" if transport == "unix" else f"127.0.0.1:{free_ports(1)[0]}"
    return Gate(address, pem, security)


def start(stage: Stage, at: Gate, server: Mapping[str, Any], **options: Any) -> Sidecar:
    """A sidecar with two lambdas that listens at this gate."""
    config = stage.config(**options)
    config["server"] = {**at.settings, **server}
    config["lambdas"][OTHER] = {"topic": stage.topic, "group": f"{stage.group}-{OTHER}"}
    sidecar = stage.sidecar(config)
    sidecar.wait_until_listening()
    return sidecar


def outcome(call: Callable[[], object]) -> grpc.StatusCode:
    """The status of a call."""
    try:
        call()
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return WORKS


def offers(at: Gate, token: str | None, tls: Tls | None, name: str) -> grpc.StatusCode:
    """The status of an Offer: OK if Welcome came."""
    credentials = None if tls is None else grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
    with hand_client(at.address, token, credentials) as hand:
        return outcome(lambda: hand.offer(name))


def deeds(at: Gate, token: str | None, tls: Tls | None) -> tuple[grpc.StatusCode, ...]:
    """The statuses of: an offer for each lambda, a call of a lambda, `status`, `resume`.

    There is no partition to resume: who may ask for it is told so.
    """
    target = Target(NAME, "none", 0)
    credentials = None if tls is None else grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
    with hand_client(at.address, token, credentials) as hand:
        calls = outcome(lambda: hand.checkpoint(1, "no-such-lease"))
    return (
        offers(at, token, tls, NAME),
        offers(at, token, tls, OTHER),
        calls,
        outcome(lambda: client.status(at.address, token, tls)),
        outcome(lambda: client.resume(at.address, token, target, False, tls)),
    )


GATES = [(transport, security) for transport in ("tcp", "unix") for security in ("plain", "tls", "mutual")]
ALL = (WORKS, WORKS, WORKS, WORKS, NOT_FOUND)
LAMBDA = (WORKS, WORKS, WORKS, UNAUTHENTICATED, UNAUTHENTICATED)
OPERATOR = (UNAUTHENTICATED, UNAUTHENTICATED, UNAUTHENTICATED, WORKS, NOT_FOUND)
NOTHING = (UNAUTHENTICATED,) * 5


@pytest.mark.parametrize(("transport", "security"), GATES)
def test_each_token_opens_what_it_should(embedded_stage: Stage, pem: Path, transport: str, security: str) -> None:
    stage = embedded_stage
    at = gate(stage, pem, transport, security)
    file = stage.folder / "billing.token"
    file.write_text("of-billing-1\nof-billing-2\n")
    identities: list[dict[str, Any]] = [
        {"name": "billing", "token_file": str(file), "lambdas": [NAME]},
        {"name": "all", "token": "of-all", "lambdas": "*", "operate": "read"},
        {"name": "ops", "token": "of-ops", "operate": "all"},
    ]
    if security == "mutual":
        identities.append({"name": "shown", "certificate": "billing.example", "lambdas": [OTHER]})
    start(stage, at, {"token": "of-lambdas", "admin_token": "of-admin", "identities": identities})
    billing = (WORKS, NOT_FOUND, WORKS, UNAUTHENTICATED, UNAUTHENTICATED)
    expected = {
        "of-lambdas": LAMBDA,
        "of-admin": OPERATOR,
        "of-billing-1": billing,
        "of-billing-2": billing,
        "of-all": (WORKS, WORKS, WORKS, WORKS, DENIED),
        "of-ops": OPERATOR,
        "of-nobody": NOTHING,
        None: NOTHING,
    }
    guest = at.tls("guest")
    assert {token: deeds(at, token, guest) for token in expected} == expected
    if security == "mutual":
        by_certificate = (NOT_FOUND, WORKS, WORKS, UNAUTHENTICATED, UNAUTHENTICATED)
        assert deeds(at, None, at.tls("billing")) == by_certificate
        assert deeds(at, "of-nobody", at.tls("billing")) == NOTHING, "a token that is there decides alone"
        assert deeds(at, "of-all", at.tls("billing"))[3] is WORKS


@pytest.mark.parametrize(("transport", "security"), [one for one in GATES if one[1] != "plain"])
def test_who_does_not_speak_its_tls_gets_nowhere(
    embedded_stage: Stage, pem: Path, transport: str, security: str
) -> None:
    at = gate(embedded_stage, pem, transport, security)
    start(embedded_stage, at, {})
    wrong: dict[str, Tls | None] = {"plain text": None, "another authority": at.tls("guest", ca="foreign")}
    if security == "mutual":
        wrong |= {"no certificate": at.tls(None), "a certificate of another authority": at.tls("spy")}
    for about, tls in wrong.items():
        assert deeds(at, None, tls) == (UNAVAILABLE,) * 5, about
    assert deeds(at, None, at.tls("guest")) == ALL


@pytest.mark.parametrize("transport", ["tcp", "unix"])
@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ({}, {None: ALL, "any": ALL}),
        ({"token": "t"}, {None: NOTHING, "any": NOTHING, "t": ALL}),
        ({"admin_token": "a"}, {None: LAMBDA, "any": LAMBDA, "a": ALL}),
        ({"token": "t", "admin_token": "a"}, {None: NOTHING, "any": NOTHING, "t": LAMBDA, "a": OPERATOR}),
    ],
    ids=["open", "token", "admin_token", "both"],
)
def test_the_two_tokens_alone(
    embedded_stage: Stage, pem: Path, transport: str, server: dict[str, str], expected: dict[str | None, object]
) -> None:
    at = gate(embedded_stage, pem, transport, "plain")
    start(embedded_stage, at, server)
    assert {token: deeds(at, token, None) for token in expected} == expected


# --- whole lambdas ----------------------------------------------------------------------------------------------


def serve(stage: Stage, at: Gate, label: str, certificate: str | None = None, **environment: str) -> Program:
    """A lambda process of the SDK, with this label in the history."""
    command = [sys.executable, "-m", "sdk_python.serve", NAME, f"{LAMBDAS}recorder", "--address", at.address]
    for key, value in {"label": label, "history": str(stage.history.folder)}.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    if at.security != "plain":
        command += ["--tls-ca", str(at.pem / "ca.pem")]
    if certificate is not None:
        command += ["--tls-cert", str(at.pem / f"{certificate}.pem"), "--tls-key", str(at.pem / f"{certificate}.key")]
    return stage.program(label, command, environment)


def test_a_lambda_works_with_its_certificate_and_others_end_with_the_reason(embedded_stage: Stage, pem: Path) -> None:
    stage = embedded_stage
    stage.create_topic(2)
    at = gate(stage, pem, "tcp", "mutual")
    identities = [
        {"name": "billing", "certificate": "billing.example", "lambdas": [NAME]},
        {"name": "guest", "certificate": "guest.example", "lambdas": [OTHER], "operate": "read"},
    ]
    start(stage, at, {"identities": identities})
    stage.produce_numbers(50, 2)
    serve(stage, at, "right", "billing")
    stage.wait_until_handled()
    guest = serve(stage, at, "guest", "guest")
    assert guest.ended() == 2
    guest.wait_for_log("error: ")
    assert f"no lambda '{NAME}' for the identity 'guest'; it has: {OTHER}" in guest.text()
    spy = serve(stage, at, "spy", "spy")
    wait_for(lambda: "TLS" in spy.text() or not spy.running(), "the spy to be told")
    stage.produce_numbers(50, 2, first=50)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    assert {event.process for event in stage.history.events("created")} == {"right"}
    seen = client.status(at.address, None, at.tls("guest"))
    (process,) = next(one for one in seen.lambdas if one.name == NAME).processes
    assert process.identity == "billing"


def test_a_token_is_rotated_without_a_gap_and_an_old_one_ends(embedded_stage: Stage, pem: Path) -> None:
    stage = embedded_stage
    stage.create_topic(1)
    at = gate(stage, pem, "unix", "plain")
    file = stage.folder / "token"
    file.write_text("secret-old")
    identities = [
        {"name": "billing", "token_file": str(file), "lambdas": [NAME]},
        {"name": "ops", "token": "of-ops", "operate": "read"},
    ]
    sidecar = start(stage, at, {"identities": identities})

    def put(text: str, times: int) -> None:
        (stage.folder / "next").write_text(text)
        (stage.folder / "next").replace(file)
        sidecar.wait_for_log("changed files are in use", count=times)

    stage.produce_numbers(20)
    old = serve(stage, at, "first", KAFKA_SIDECAR_TOKEN="secret-old")
    stage.wait_until_handled()
    put("secret-old\nsecret-new\n", 1)
    assert offers(at, "secret-new", None, NAME) is WORKS
    assert offers(at, "secret-old", None, NAME) is WORKS
    assert not sidecar.log("client refused")
    serve(stage, at, "second", KAFKA_SIDECAR_TOKEN="secret-new")
    wait_for(lambda: len(client.status(at.address, "of-ops").lambdas[0].processes) == 2, "both processes")
    put("secret-new\n", 2)
    stage.produce_numbers(20, first=20)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    wait_for(
        lambda: {event.process for event in stage.history.events("handled")} == {"first", "second"},
        "the second to go on",
    )
    assert old.running(), "it waits for somebody to give it the new token, as for any later refusal"
    assert offers(at, "secret-old", None, NAME) is UNAUTHENTICATED
    checks.all_handled(stage.produced, stage.history.events())
    checks.gapless_leases(stage.produced, stage.history.events())

    file.write_text("")
    sidecar.wait_for_log("a changed file is not used")
    assert offers(at, "secret-new", None, NAME) is WORKS, "an empty file changes nothing"
    (problem,) = client.status(at.address, "of-ops").lambdas[0].problems
    assert (problem.kind, problem.blocks) == ("identity:billing", False)
    assert "it has no token" in problem.text
    refused = sidecar.cli("pause", f"{NAME}/{stage.topic}/0", "--token", "of-ops")
    assert refused.returncode == 1
    assert "refuses: the identity 'ops' may only read; `operate: all` allows this call" in refused.stderr
    assert ", as billing: 1 partition" in sidecar.cli("status", "--token", "of-ops").stdout
    put("secret-newest", 3)
    assert client.status(at.address, "of-ops").lambdas[0].problems == []
    assert "secret-" not in sidecar.text()


def test_a_renewed_certificate_needs_no_restart(embedded_stage: Stage, pem: Path) -> None:
    stage = embedded_stage
    stage.create_topic(1)
    kept = stage.folder / "pem"
    kept.mkdir()
    for name in ("server.pem", "server.key", "ca.pem", "foreign.pem"):
        (kept / name).write_bytes((pem / name).read_bytes())
    at = gate(stage, kept, "tcp", "tls")
    sidecar = start(stage, at, {})
    serve(stage, at, "first")
    stage.produce_numbers(10)
    stage.wait_until_handled()
    for kind in ("key", "pem"):  # for a moment the key is not the certificate's
        (kept / f"server.{kind}").write_bytes((pem / f"renewed.{kind}").read_bytes())
    sidecar.wait_for_log("changed files are in use", setting="server.tls")
    assert outcome(lambda: client.status(at.address, None, at.tls())) is UNAVAILABLE
    status = client.status(at.address, None, at.tls(ca="foreign"))
    assert [len(one.processes) for one in status.lambdas] == [1, 0], "its connection goes on"
    stage.produce_numbers(10, first=10)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    assert sidecar.terminate() == 0


# --- leases and children ----------------------------------------------------------------------------------------


def test_a_lease_is_of_no_use_to_another_identity(embedded_stage: Stage, pem: Path) -> None:
    stage = embedded_stage
    stage.create_topic(1)
    stage.produce_numbers(5)
    at = gate(stage, pem, "tcp", "plain")
    topics = [stage.topic, "elsewhere"]
    identities = [
        {"name": "billing", "token": "b", "lambdas": [NAME], "produce": [stage.topic]},
        {"name": "audit", "token": "a", "lambdas": "*"},
    ]
    start(stage, at, {"identities": identities}, produce=topics)

    def asked(hand: HandClient, lease: str) -> tuple[Any, ...]:
        answers = hand.checkpoint(0, lease), hand.produce(stage.topic, b"x", lease=lease)
        return answers[0].outcome, [*answers[1].outcomes]

    stale = (pb.CHECKPOINT_OUTCOME_STALE_LEASE, [pb.PRODUCE_OUTCOME_STALE_LEASE])
    with hand_client(at.address, "b") as hand, hand_client(at.address, "a") as other:
        hand.offer(NAME)
        hand.take()
        hand.hear("batch")
        assert asked(other, hand.lease) == stale
        assert asked(other, "no-such-lease") == stale
        assert asked(hand, hand.lease) == (pb.CHECKPOINT_OUTCOME_ACCEPTED, [pb.PRODUCE_OUTCOME_WRITTEN])
        assert [*hand.produce("elsewhere", b"x").outcomes] == [pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED]


PRINTS_ITS_TOKEN = "import os, sys; open(sys.argv[1], 'w').write(os.environ['KAFKA_SIDECAR_TOKEN'] + '.')"


def test_a_process_of_the_sidecar_has_a_token_for_its_own_lambda(embedded_stage: Stage, pem: Path) -> None:
    stage = embedded_stage
    stage.create_topic(1)
    at = gate(stage, pem, "unix", "plain")
    path = stage.folder / "child"
    command = [sys.executable, "-c", PRINTS_ITS_TOKEN, str(path)]
    sidecar = start(stage, at, {"token": "of-lambdas"}, command=command)
    wait_for(lambda: path.exists() and path.read_text().endswith("."), "the child's token")
    token = path.read_text()[:-1]
    assert deeds(at, token, None) == (WORKS, NOT_FOUND, WORKS, UNAUTHENTICATED, UNAUTHENTICATED)
    assert token not in sidecar.text()


def test_a_process_of_the_sidecar_works_with_its_token(embedded_stage: Stage, pem: Path) -> None:
    stage = embedded_stage
    stage.create_topic(1)
    stage.produce_numbers(10)
    at = gate(stage, pem, "tcp", "plain")
    identities = [{"name": "ops", "token": "of-ops", "operate": "read"}]
    command = f"python -m sdk_python.serve {NAME} {LAMBDAS}recorder"
    start(stage, at, {"identities": identities}, command=command)
    stage.wait_until_handled()
    stage.wait_until_caught_up()
    (process,) = client.status(at.address, "of-ops").lambdas[0].processes
    assert process.identity == f"command:{NAME}"
