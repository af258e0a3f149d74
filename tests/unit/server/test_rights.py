"""What each identity may do: offers, leases, records to produce, operators' calls. What becomes of lost tokens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio

from sdk_python.protocol import admin_pb2, lambda_pb2 as pb
from sidecar.config.identities import IdentityConfig
from sidecar.mail import letters
from sidecar.server import renewal
from sidecar.status import LambdaStatus

from .bench import Call, offer
from .test_access import PAUSE, REFLECTION, STATUS, UNAUTHENTICATED, authority, credentials, services, signed, tls
from .wire import P0, Client, Wire, entry, running

STALE = pb.CHECKPOINT_OUTCOME_STALE_LEASE


def listed(*identities: dict[str, Any]) -> dict[str, Any]:
    return {"identities": [IdentityConfig.model_validate(one) for one in identities]}


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


BILLING = {"name": "billing", "token": "b", "lambdas": ["del*"], "produce": "billing.*"}
AUDIT = {"name": "audit", "token": "a", "lambdas": ["scribe", "deli"], "operate": "read"}
OPS = {"name": "ops", "token": "o", "operate": "all"}


@pytest_asyncio.fixture
async def both() -> AsyncIterator[tuple[Wire, Client]]:
    """A server with three identities, and a client."""
    async with running(**listed(BILLING, AUDIT, OPS)) as wire, wire.client() as client:
        yield wire, client


async def running_stream(
    wire: Wire, client: Client, token: str, lease: str, name: str = "deli", **fields: Any
) -> Call:
    call = client.process(bearer(token))
    await wire.offered(call, name, **fields)
    await wire.given(call, name, lease, P0, 0, 1)
    return call


async def test_an_identity_offers_for_its_own_lambdas_alone(both: tuple[Wire, Client]) -> None:
    wire, client = both
    call = client.process(bearer("b"))
    await wire.offered(call, "deli")
    texts = []
    for name in ("scribe", "nosuch"):
        other = client.process(bearer("b"))
        await other.say(offer=offer(lambda_name=name))
        status, text = await other.ended()
        assert status is grpc.StatusCode.NOT_FOUND
        texts.append(text.replace(repr(name), "X"))
    assert texts[0] == texts[1], "whether there is such a lambda is not told"
    assert texts[0].endswith("no lambda X for the identity 'billing'; it has: deli")
    assert wire.desks["scribe"].empty()


async def test_who_may_not_offer_is_refused_before_its_offer(both: tuple[Wire, Client]) -> None:
    _, client = both
    for metadata in ([], bearer("o"), bearer("wrong")):
        status, text = await client.process(metadata).ended()
        assert status is UNAUTHENTICATED
        assert "server.identities" in text


async def test_the_lease_of_another_identity_is_unknown(both: tuple[Wire, Client]) -> None:
    wire, client = both
    await running_stream(wire, client, "b", "lease")
    checkpoint = pb.CheckpointRequest(entries=[entry("lease", 1)])
    error = pb.ErrorRequest(lease="lease", action=pb.ERROR_ACTION_RESTART)
    produce = pb.ProduceRequest(lease="lease", topics=["billing.x"], values=[b""])
    for lease, token in (("lease", "a"), ("nosuch", "a"), ("nosuch", "b")):
        for request in (checkpoint.entries[0], error, produce):
            request.lease = lease
        answer = pb.CheckpointResponse.FromString(await client.unary("Checkpoint", checkpoint, bearer(token)))
        assert [result.outcome for result in answer.results] == [STALE]
        failed = pb.ErrorResponse.FromString(await client.unary("Error", error, bearer(token)))
        assert failed == pb.ErrorResponse(outcome=pb.ERROR_OUTCOME_STALE_LEASE)
        written = pb.ProduceResponse.FromString(await client.unary("Produce", produce, bearer(token)))
        assert [*written.outcomes] == [pb.PRODUCE_OUTCOME_STALE_LEASE]
        assert wire.deli.checkpoints == []
        assert wire.deli.empty()
    checkpoint.entries[0].lease = "lease"
    answer = pb.CheckpointResponse.FromString(await client.unary("Checkpoint", checkpoint, bearer("b")))
    assert [result.outcome for result in answer.results] == [pb.CHECKPOINT_OUTCOME_ACCEPTED]


async def test_one_call_with_leases_of_two_identities_counts_for_its_own(both: tuple[Wire, Client]) -> None:
    wire, client = both
    await running_stream(wire, client, "b", "of-billing", process_id="p1")
    await running_stream(wire, client, "a", "of-audit", process_id="p2")
    request = pb.CheckpointRequest(entries=[entry("of-billing", 1), entry("of-audit", 2), entry("none", 3)])
    answer = pb.CheckpointResponse.FromString(await client.unary("Checkpoint", request, bearer("a")))
    assert [result.outcome for result in answer.results] == [STALE, pb.CHECKPOINT_OUTCOME_ACCEPTED, STALE]
    ((only,),) = wire.deli.checkpoints
    assert only[0] == "of-audit"


async def test_a_process_id_belongs_to_one_identity(both: tuple[Wire, Client]) -> None:
    wire, client = both
    first = client.process(bearer("b"))
    await wire.offered(first, "deli", process_id="mine")
    other = client.process(bearer("a"))
    await other.say(offer=offer(lambda_name="deli", process_id="mine"))
    status, text = await other.ended()
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("offer.process_id: a process of another identity has it")
    assert wire.host.processes["mine"].identity == "billing"
    first.cancel()
    await wire.deli.expect(letters.StreamLost)
    again = client.process(bearer("a"))
    await wire.offered(again, "deli", process_id="mine")


async def test_times_of_handlers_count_under_a_lease_of_the_caller_alone(both: tuple[Wire, Client]) -> None:
    wire, client = both
    await running_stream(wire, client, "b", "of-billing")
    times = pb.HandlerTimes(lease="of-billing", counts=[1] * 13, sum_us=1)
    request = pb.CheckpointRequest(handler_times=times)
    handlers = wire.hosted["deli"].measure.handlers
    await client.unary("Checkpoint", request, bearer("a"))
    assert sum(handlers.now.counts) == 0
    await client.unary("Checkpoint", request, bearer("b"))
    assert sum(handlers.now.counts) == 13


async def test_operators_may_read_or_do_all(both: tuple[Wire, Client]) -> None:
    wire, client = both
    wire.deli.answers[letters.Pause] = 3
    status, pause = admin_pb2.StatusRequest(), admin_pb2.PauseRequest(lambda_name="deli", topic="words")
    for metadata in ([], bearer("b"), bearer("wrong")):
        for method, request in ((STATUS, status), (PAUSE, pause)):
            code, text = await client.refused(method, request, metadata)
            assert code is UNAUTHENTICATED
            assert "`operate` of server.identities" in text
    for desk in wire.desks.values():
        desk.answers[letters.Inspect] = LambdaStatus(True, True, [], 0, 0, {}, 0, 0, 0, [], [])
    code, text = await client.refused(PAUSE, pause, bearer("a"))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert text == "the identity 'audit' may only read; `operate: all` allows this call"
    assert wire.deli.empty()
    for token in ("a", "o"):
        answer = admin_pb2.StatusResponse.FromString(await client.unary(STATUS, status, bearer(token)))
        assert [one.name for one in answer.lambdas] == ["deli", "scribe"]
        await wire.deli.expect(letters.Inspect)
    assert admin_pb2.PauseResponse.FromString(await client.unary(PAUSE, pause, bearer("o"))).from_offset == 3


async def test_reflection_needs_any_identity(both: tuple[Wire, Client]) -> None:
    _, client = both
    for token in ("a", "b", "o"):
        assert "kafka_sidecar.v1.LambdaHost" in await services(client, bearer(token))
    stranger: Any = client.channel.stream_stream(REFLECTION)(metadata=bearer("wrong"))
    assert await stranger.code() is UNAUTHENTICATED


@pytest.mark.parametrize(
    ("topic", "outcome", "text"),
    [
        (
            "audit",
            pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED,
            "`produce` of the identity 'billing', which allows: billing.x",
        ),
        (
            "billing.y",
            pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED,
            "`produce` of the lambda's config, which allows: billing.x",
        ),
    ],
)
async def test_what_an_identity_may_produce(topic: str, outcome: int, text: str) -> None:
    async with running(**listed(BILLING)) as wire, wire.client() as client:
        hosted = wire.hosted["deli"]
        object.__setattr__(hosted, "config", hosted.config.model_copy(update={"produce": ("billing.x", "audit")}))
        await running_stream(wire, client, "b", "lease")
        request = pb.ProduceRequest(lease="lease", topics=[topic], values=[b""])
        answer = pb.ProduceResponse.FromString(await client.unary("Produce", request, bearer("b")))
        assert [*answer.outcomes] == [outcome]
        assert text in answer.errors[0]


# --- tokens that change -----------------------------------------------------------------------------------------


async def test_a_token_that_is_gone_opens_nothing_and_ends_its_streams(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\nboth")
    identity = {"name": "billing", "token_file": str(file), "lambdas": "*"}
    async with running(**listed(identity)) as wire, wire.client() as client:
        with_old = await running_stream(wire, client, "old", "lease")
        spare = client.process(bearer("old"))
        await wire.offered(spare, "scribe", process_id="p2")
        with_both = client.process(bearer("both"))
        await wire.offered(with_both, "scribe", process_id="p3")
        file.write_text("both\nnew")
        await wire.server.renewals.look()
        for call in (with_old, spare):
            status, text = await call.ended()
            assert status is UNAUTHENTICATED
            assert text.startswith("the token with which this stream began is not accepted any more")
        assert (await client.refused("Checkpoint", b"", bearer("old")))[0] is UNAUTHENTICATED
        for token in ("both", "new"):
            assert await client.unary("Checkpoint", b"", bearer(token)) == b""
        await wire.deli.expect(letters.StreamLost)
        await wire.desks["scribe"].expect(letters.StreamLost)
        assert [info.identity for info in wire.host.processes.values()] == ["billing"], "the third stream goes on"


async def test_the_server_watches_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal, "LOOK_INTERVAL_S", 0.01)
    file = tmp_path / "token"
    file.write_text("old")
    identity = {"name": "billing", "token_file": str(file), "lambdas": "*"}
    async with running(**listed(identity)) as wire, wire.client() as client:
        call = client.process(bearer("old"))
        await wire.offered(call, "deli")
        watching = asyncio.ensure_future(wire.server.renewals.watch())
        file.write_text("new")
        assert (await call.ended())[0] is UNAUTHENTICATED
        file.unlink()
        await wire.server.renewals.look()
        assert [problem.kind for problem in wire.server.renewals.problems()] == ["identity:billing"]
        assert await client.unary("Checkpoint", b"", bearer("new")) == b"", "a file that is gone changes nothing"
        watching.cancel()


async def test_a_token_file_without_a_token_keeps_the_server_from_starting(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    identity = {"name": "billing", "token_file": str(tmp_path / "token"), "lambdas": "*"}
    with pytest.raises(OSError, match=r"server.identities\[0\].token_file: .* cannot be used: it has no token"):
        async with running(**listed(identity)):
            pass


# --- certificates -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "other"):
        authority(directory, name)
    for name in ("server", "billing", "stranger"):
        signed(directory, name, "ca", f"DNS:{name}.example,IP:127.0.0.1")
    signed(directory, "renewed", "other", "IP:127.0.0.1")
    return directory


async def test_a_certificate_is_an_identity(certificates: Path) -> None:
    known = {"name": "by-name", "certificate": "Billing.Example", "lambdas": ["deli"]}
    async with running(tls=tls(certificates, mutual=True), **listed(known, OPS)) as wire:
        async with wire.client(credentials(certificates, name="billing")) as client:
            await wire.offered(client.process(), "deli")
            assert [info.identity for info in wire.host.processes.values()] == ["by-name"]
            assert (await client.refused(STATUS, b""))[0] is UNAUTHENTICATED
            status, text = await client.refused("Checkpoint", b"", bearer("wrong"))
            assert status is UNAUTHENTICATED, "a token that is there decides alone"
            assert "or show its certificate" in text
        async with wire.client(credentials(certificates, name="stranger")) as client:
            assert (await client.refused("Checkpoint", b""))[0] is UNAUTHENTICATED
            wire.deli.answers[letters.Pause] = 3
            pause = admin_pb2.PauseRequest(lambda_name="deli", topic="words")
            assert await client.unary(PAUSE, pause, bearer("o"))


async def test_a_renewed_certificate_is_shown_to_new_connections(certificates: Path, tmp_path: Path) -> None:
    for kind in ("pem", "key"):
        (tmp_path / f"server.{kind}").write_bytes((certificates / f"server.{kind}").read_bytes())
    async with running(tls=tls(tmp_path)) as wire, wire.client(credentials(certificates)) as before:
        call, _ = await wire.available(before)
        for kind in ("pem", "key"):
            (tmp_path / f"server.{kind}").write_bytes((certificates / f"renewed.{kind}").read_bytes())
        await wire.server.renewals.look()
        async with wire.client(credentials(certificates, "other")) as client:
            await wire.works(client)
        async with wire.client(credentials(certificates)) as late:
            assert (await late.refused("Checkpoint"))[0] is grpc.StatusCode.UNAVAILABLE
        await call.half_close()
        assert (await call.ended())[0] is grpc.StatusCode.OK, "an open connection goes on"


async def test_a_renewed_authority_decides_about_new_connections(certificates: Path, tmp_path: Path) -> None:
    for kind in ("pem", "key"):
        (tmp_path / f"server.{kind}").write_bytes((certificates / f"server.{kind}").read_bytes())
    (tmp_path / "ca.pem").write_bytes((certificates / "ca.pem").read_bytes())
    async with running(tls=tls(tmp_path, mutual=True)) as wire:
        async with wire.client(credentials(certificates, name="billing")) as client:
            await wire.works(client)
        (tmp_path / "ca.pem").write_bytes((certificates / "other.pem").read_bytes())
        await wire.server.renewals.look()
        async with wire.client(credentials(certificates, name="billing")) as client:
            assert (await client.refused("Checkpoint"))[0] is grpc.StatusCode.UNAVAILABLE
        async with wire.client(credentials(certificates, name="renewed")) as client:
            await wire.works(client)
