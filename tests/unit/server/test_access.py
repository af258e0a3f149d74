"""Access control: tokens, TLS, mutual TLS, and calls that need neither."""

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from sdk_python.protocol import admin_pb2, lambda_pb2 as pb
from sidecar.config import TlsConfig
from sidecar.mail import letters

from .bench import PATIENCE, offer
from .wire import Client, Wire, entry, running

TOKEN = "s3cret-and-long-enough"
RIGHT = [("authorization", f"Bearer {TOKEN}")]
WRONG = [
    [],
    [("authorization", "Bearer wrong")],
    [("authorization", TOKEN)],
    [("authorization", f"bearer {TOKEN}")],
    [("authorization", f"Bearer {TOKEN}x")],
    [("x-authorization", f"Bearer {TOKEN}")],
]
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
PAUSE = "/kafka_sidecar.admin.v1.Admin/Pause"
STATUS = "/kafka_sidecar.admin.v1.Admin/Status"
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


async def health(client: Client) -> int:
    answer = await client.unary(HEALTH, health_pb2.HealthCheckRequest())
    return health_pb2.HealthCheckResponse.FromString(answer).status


async def services(client: Client, metadata: list[tuple[str, str]]) -> set[str]:
    """The services that reflection lists."""
    call: Any = client.channel.stream_stream(REFLECTION)(metadata=metadata)
    await call.write(reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString())
    async with asyncio.timeout(PATIENCE):
        data = await call.read()
    call.cancel()
    assert isinstance(data, bytes), await call.code()
    answer = reflection_pb2.ServerReflectionResponse.FromString(data)
    return {service.name for service in answer.list_services_response.service}


# --- what everybody may ask -------------------------------------------------------------------------------------


async def test_health_is_the_last_state_that_was_set(wire: Wire, client: Client) -> None:
    assert await health(client) == health_pb2.HealthCheckResponse.NOT_SERVING
    await wire.server.healthy(True)
    assert await health(client) == health_pb2.HealthCheckResponse.SERVING
    await wire.server.healthy(False)
    assert await health(client) == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_the_server_is_healthy_when_every_lambda_is_ready(wire: Wire) -> None:
    wire.host.deliver([letters.Readiness("deli", True)])
    wire.host.deliver([letters.Readiness("scribe", True)])
    wire.host.deliver([letters.Readiness("deli", False)])
    assert wire.health == [False, True, False]


async def test_reflection_lists_every_service(client: Client) -> None:
    listed = await services(client, [])
    assert {"kafka_sidecar.v1.LambdaHost", "kafka_sidecar.admin.v1.Admin", "grpc.health.v1.Health"} <= listed


async def test_reflection_knows_the_contract(client: Client) -> None:
    call: Any = client.channel.stream_stream(REFLECTION)()
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="kafka_sidecar.v1.LambdaHost")
    await call.write(request.SerializeToString())
    async with asyncio.timeout(PATIENCE):
        data = await call.read()
    call.cancel()
    assert isinstance(data, bytes)
    assert reflection_pb2.ServerReflectionResponse.FromString(data).HasField("file_descriptor_response")


# --- the token --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metadata", WRONG)
async def test_a_call_without_the_right_token_is_refused(metadata: list[tuple[str, str]]) -> None:
    async with running(token=TOKEN) as wire, wire.client() as client:
        call = client.process(metadata)
        status, text = await call.ended()
        assert status is UNAUTHENTICATED
        assert "token missing or wrong" in text
        assert TOKEN not in text
        requests = {
            "Checkpoint": pb.CheckpointRequest(entries=[entry("L1", 1)]),
            "Error": pb.ErrorRequest(lease="L1", action=pb.ERROR_ACTION_RESTART),
            "Produce": pb.ProduceRequest(),
            STATUS: admin_pb2.StatusRequest(),
            "/kafka_sidecar.admin.v1.Admin/Resume": admin_pb2.ResumeRequest(),
            PAUSE: admin_pb2.PauseRequest(),
            "/kafka_sidecar.admin.v1.Admin/Seek": admin_pb2.SeekRequest(),
        }
        for method, request in requests.items():
            assert (await client.refused(method, request, metadata))[0] is UNAUTHENTICATED
        # Nothing is written: a write that comes after the refusal would take the place of its status (grpc#36066).
        listed: Any = client.channel.stream_stream(REFLECTION)(metadata=metadata)
        async with asyncio.timeout(PATIENCE):
            assert await listed.code() is UNAUTHENTICATED
        assert all(script.empty() for script in wire.desks.values())
        assert await health(client) == health_pb2.HealthCheckResponse.NOT_SERVING  # no token needed


async def test_a_call_with_the_right_token_is_served() -> None:
    async with running(token=TOKEN) as wire, wire.client() as client:
        call = client.process(RIGHT)
        await call.say(offer=offer())
        await call.expect("welcome")
        assert await client.unary("Checkpoint", pb.CheckpointRequest(), RIGHT) == b""
        assert "kafka_sidecar.v1.LambdaHost" in await services(client, RIGHT)
        assert (await client.refused("Produce", b"", RIGHT))[0] is grpc.StatusCode.INVALID_ARGUMENT


ADMIN = "an-operators-own"
BY = {
    "nobody": [],
    "lambda": RIGHT,
    "operator": [("authorization", f"Bearer {ADMIN}")],
    "stranger": [("authorization", "Bearer wrong")],
}


@pytest.mark.parametrize(
    ("tokens", "lambdas", "operators"),
    [
        ({}, {*BY}, {*BY}),
        ({"token": TOKEN}, {"lambda"}, {"lambda"}),
        ({"admin_token": ADMIN}, {*BY}, {"operator"}),
        ({"token": TOKEN, "admin_token": ADMIN}, {"lambda"}, {"operator"}),
        ({"token": TOKEN, "admin_token": TOKEN}, {"lambda"}, {"lambda"}),
    ],
)
async def test_each_service_requires_its_token(
    tokens: dict[str, str], lambdas: set[str], operators: set[str]
) -> None:
    async with running(**tokens) as wire, wire.client() as client:
        wire.deli.answers[letters.Pause] = 3
        pause = admin_pb2.PauseRequest(lambda_name="deli", topic="words")
        for who, metadata in BY.items():
            if who in lambdas:
                assert await client.unary("Checkpoint", b"", metadata) == b""
            else:
                status, text = await client.refused("Checkpoint", b"", metadata)
                assert status is UNAUTHENTICATED
                assert "KAFKA_SIDECAR_TOKEN" in text
            if who in operators:
                assert admin_pb2.PauseResponse.FromString(await client.unary(PAUSE, pause, metadata)).from_offset == 3
                await wire.deli.expect(letters.Pause)
            else:
                status, text = await client.refused(PAUSE, pause, metadata)
                assert status is UNAUTHENTICATED
                assert "KAFKA_SIDECAR_ADMIN_TOKEN" in text
                assert "server.admin_token" in text
                assert wire.deli.empty()
            assert await health(client) == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_reflection_accepts_each_token() -> None:
    async with running(token=TOKEN, admin_token=ADMIN) as wire, wire.client() as client:
        for who in ("lambda", "operator"):
            assert "kafka_sidecar.admin.v1.Admin" in await services(client, BY[who])
        for who in ("nobody", "stranger"):
            with pytest.raises((AssertionError, grpc.aio.AioRpcError), match="UNAUTHENTICATED"):
                await services(client, BY[who])


# --- encryption -------------------------------------------------------------------------------------------------


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60)


def authority(directory: Path, name: str) -> None:
    """A certificate authority: `name.pem` and `name.key`."""
    openssl(
        directory,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}"),
    )


def signed(directory: Path, name: str, by: str, names: str = "IP:127.0.0.1,DNS:localhost") -> None:
    """A certificate for the loopback address, or for these names, signed: `name.pem` and `name.key`."""
    openssl(
        directory,
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"),
    )
    (directory / f"{name}.ext").write_text(f"subjectAltName={names}\n")
    openssl(
        directory,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial"),
        *("-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext"),
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities with the certificates that they signed."""
    directory = tmp_path_factory.mktemp("certificates")
    for name in ("ca", "other"):
        authority(directory, name)
    signed(directory, "server", "ca")
    signed(directory, "lambda", "ca")
    signed(directory, "stranger", "other")
    return directory


def credentials(directory: Path, root: str = "ca", name: str | None = None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        (directory / f"{root}.pem").read_bytes(),
        None if name is None else (directory / f"{name}.key").read_bytes(),
        None if name is None else (directory / f"{name}.pem").read_bytes(),
    )


def tls(directory: Path, *, mutual: bool = False) -> TlsConfig:
    return TlsConfig(
        certificate=directory / "server.pem",
        key=directory / "server.key",
        client_ca=directory / "ca.pem" if mutual else None,
    )


async def test_tls_serves_clients_that_trust_the_certificate(certificates: Path) -> None:
    async with running(tls=tls(certificates)) as wire, wire.client(credentials(certificates)) as client:
        await wire.works(client)


async def test_tls_refuses_plain_text_and_clients_that_do_not_trust_the_certificate(certificates: Path) -> None:
    async with running(tls=tls(certificates)) as wire:
        async with wire.client() as plain:
            assert (await plain.refused("Checkpoint"))[0] is grpc.StatusCode.UNAVAILABLE
        async with wire.client(credentials(certificates, "other")) as doubtful:
            assert (await doubtful.refused("Checkpoint"))[0] is grpc.StatusCode.UNAVAILABLE


async def test_mutual_tls_serves_clients_with_a_certificate_of_the_authority(certificates: Path) -> None:
    async with running(tls=tls(certificates, mutual=True)) as wire:
        async with wire.client(credentials(certificates, name="lambda")) as client:
            await wire.works(client)
        for stranger in (None, "stranger"):
            async with wire.client(credentials(certificates, name=stranger)) as client:
                assert (await client.refused("Checkpoint"))[0] is grpc.StatusCode.UNAVAILABLE
        async with wire.client(credentials(certificates, name="lambda")) as client:
            await wire.works(client)


async def test_tls_and_a_token_together(certificates: Path) -> None:
    async with (
        running(tls=tls(certificates), token=TOKEN) as wire,
        wire.client(credentials(certificates)) as client,
    ):
        assert (await client.refused("Checkpoint"))[0] is UNAUTHENTICATED
        assert await client.unary("Checkpoint", b"", RIGHT) == b""


# --- where it listens -------------------------------------------------------------------------------------------


async def test_it_listens_on_a_unix_socket(tmp_path: Path) -> None:
    path = f"unix://{tmp_path}/sidecar.sock"
    async with running(listen=path) as wire:
        assert wire.server.address == path
        async with wire.client() as client:
            await wire.works(client)


async def test_an_address_in_use_is_an_error(wire: Wire) -> None:
    with pytest.raises(OSError, match=f"cannot listen on {wire.server.address}: the address is in use") as caught:
        async with running(listen=wire.server.address):
            pass
    assert "server.listen" in str(caught.value)
