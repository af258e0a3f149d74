"""Fixtures of the operator's tests."""

from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result

from sdk_python.protocol import admin_pb2_grpc
from sidecar.cli import main

from .operator_lab import Admin, Invoke, Serve


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A function that starts servers on loopback, which end with the test."""
    servers: list[grpc.Server] = []

    def start(credentials: grpc.ServerCredentials | None = None) -> Admin:
        admin = Admin()
        server = grpc.server(futures.ThreadPoolExecutor(2))
        admin_pb2_grpc.add_AdminServicer_to_server(admin, server)  # type: ignore[no-untyped-call]
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        servers.append(server)
        admin.address = f"127.0.0.1:{port}"
        return admin

    yield start
    for server in servers:
        server.stop(None).wait()


@pytest.fixture
def admin(serve: Serve) -> Admin:
    """A sidecar without encryption."""
    return serve()


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """A function that runs the command line in an empty directory, with only the given ones of our variables."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **environ: str | None) -> Result:
        names = ("ADDRESS", "ADMIN_TOKEN", "TOKEN", "CONFIG", "CA", "CERT", "KEY")
        cleared = {f"KAFKA_SIDECAR_{name}": None for name in names}
        given = {**cleared, "GRPC_VERBOSITY": "NONE", **environ}
        return CliRunner().invoke(main, arguments, env=given, prog_name="kafka-sidecar")

    return run
