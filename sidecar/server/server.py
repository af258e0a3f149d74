"""The gRPC server: its address, services, options and credentials."""

from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sdk_python.protocol import admin_pb2, lambda_pb2
from sidecar.config.credentials import tokens_in
from sidecar.config.model import ServerConfig
from sidecar.logs import get_logger
from sidecar.records.extension import extension
from sidecar.server import admin, lambda_host, unix_socket
from sidecar.server.access import AccessCheck
from sidecar.server.arrivals import MAX_REQUEST_BYTES
from sidecar.server.certificates import Certificates
from sidecar.server.identities import Identities
from sidecar.server.limits import IDLE_TIMEOUT_MS, MAX_STREAMS_PER_CONNECTION, PING_INTERVAL_MS
from sidecar.server.memory_desk import MemoryDesk
from sidecar.server.renewal import Renewals, Renewed
from sidecar.shared_memory.memory import why_impossible

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", MAX_STREAMS_PER_CONNECTION),
    ("grpc.max_send_message_length", -1),  # each client states its own limit in Offer
    # A frozen process or a cut cable is noticed within 15 s, thanks to ping_timeout_ms: with the two keepalive
    # settings alone a process under SIGSTOP went unnoticed for a minute.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MS),
    # The probe would let a fast client send megabytes ahead of our reading; honest clients send little.
    ("grpc.http2.bdp_probe", 0),
    # End idle connections: those without the first bytes of HTTP/2 or TLS, and those without any call.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", IDLE_TIMEOUT_MS),
    ("grpc.so_reuseport", 0),  # two sidecars on one port would get its calls at random: refuse the second
]

_NOT_SHARED = "server.shared_memory: no memory is shared, and all frames go through the socket"

_log = get_logger(__name__)


class Server:
    """The gRPC server. Made, started and stopped on one event loop."""

    def __init__(self, config: ServerConfig, host: lambda_host.LambdaHost, admin_service: admin.Admin) -> None:
        self.identities = Identities(config)
        """Who may call."""
        interceptors: list[grpc.aio.ServerInterceptor] = [host.arrivals]
        if not self.identities.is_open:
            interceptors.append(AccessCheck(config, self.identities, host.refusals))
        self._server = grpc.aio.server(interceptors=interceptors, options=_OPTIONS)
        self._server.add_generic_rpc_handlers((host.handler(), admin_service.handler()))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = [service.full_name for file in _FILES for service in file.services_by_name.values()]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self._config = config
        self._host = host
        self._certificates = None if config.tls is None else Certificates(config.tls)
        self.renewals = Renewals([*self._token_files(), *self._certificate_files()])
        """What is read again when its files change."""
        self._desk: MemoryDesk | None = None
        self.address = config.listen
        """Where it listens; with port 0 the real port is known after ``start``."""

    async def start(self) -> None:
        """Listen. Raises ``OSError``, which names the address or the file, when that is not possible."""
        self.renewals.first()
        endpoint = self._config.endpoint
        credentials = None if self._certificates is None else self._certificates.credentials()
        if endpoint.path:
            with unix_socket.made(endpoint.path, self._config.mode, self._config.listen):
                self._listen(f"unix:{endpoint.path}", credentials)
        else:
            self.address = str(endpoint._replace(port=self._listen(str(endpoint), credentials)))
        self._share_memory(endpoint.path)
        await self.healthy(False)
        await self._server.start()

    def _share_memory(self, path: str) -> None:
        """Let lambda processes share memory with the sidecar, if the config and the machine allow it."""
        if not path or not self._config.shared_memory:
            return  # of a size without a Unix socket, `Config.warnings` tells
        reason = why_impossible() or ("" if extension() else "it needs the C extension, which cannot be loaded")
        if reason:
            _log.warning(_NOT_SHARED, reason=reason)
            return
        desk = MemoryDesk(self._config.shared_memory)
        try:
            desk.start(path, self._config.mode)
        except OSError as error:
            _log.warning(_NOT_SHARED, reason=str(error))
            return
        self._desk = self._host.memory = desk

    def _token_files(self) -> list[Renewed[Any]]:
        return [
            Renewed(
                f"server.identities[{index}].token_file",
                f"identity:{one.name}",
                [one.token_file],
                lambda contents: tokens_in(contents[0].decode(errors="replace")),
                partial(self._use_tokens, one.name),
            )
            for index, one in enumerate(self._config.identities)
            if one.token_file is not None
        ]

    def _certificate_files(self) -> list[Renewed[Any]]:
        return [] if self._certificates is None else [self._certificates.renewed]

    def _use_tokens(self, name: str, tokens: tuple[str, ...]) -> None:
        """Accept these tokens of an identity and no others; streams that began with another one end."""
        others = self.identities.set_tokens(name, tokens)
        if others:
            said = "a token belongs to several identities: it counts for the first of them in the config"
            _log.warning(said, identities=[name, *others])
        self._host.end_refused(self.identities.still_valid)

    def _listen(self, target: str, credentials: grpc.ServerCredentials | None) -> int:
        """Returns the port, if there is one."""
        try:
            if credentials is None:
                return self._server.add_insecure_port(target)
            return self._server.add_secure_port(target, credentials)
        except RuntimeError:
            raise OSError(
                f"cannot listen on {self._config.listen}: the address is in use or not of this machine; "
                "server.listen in the config says where to listen"
            ) from None

    async def healthy(self, is_healthy: bool) -> None:
        """Set the answer of `grpc.health.v1` for the whole server."""
        status = health_pb2.HealthCheckResponse
        await self._health.set("", status.SERVING if is_healthy else status.NOT_SERVING)

    async def stop(self, grace: float) -> None:
        """Refuse new calls; those under way get ``grace`` seconds."""
        await self._server.stop(grace)
        if self._desk is not None:
            await self._desk.stop()


_FILES = (lambda_pb2.DESCRIPTOR, admin_pb2.DESCRIPTOR)
