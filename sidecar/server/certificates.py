"""The server's certificate, which may change while connections are open."""

from __future__ import annotations

import ssl
from typing import Any

import grpc

from sidecar.config.model import TlsConfig
from sidecar.server.renewal import Renewed


class Certificates:
    """The server's credentials. Owned by the loop; gRPC's threads ask for the certificate at each handshake."""

    def __init__(self, config: TlsConfig) -> None:
        self._config = config
        self._now: grpc.ServerCertificateConfiguration | None = None
        self._given: grpc.ServerCertificateConfiguration | None = None
        paths = [config.key, config.certificate, *([config.client_ca] if config.client_ca is not None else [])]
        self.renewed: Renewed[grpc.ServerCertificateConfiguration] = Renewed(
            "server.tls", "certificate", paths, self._made, self._use
        )

    def credentials(self) -> grpc.ServerCredentials:
        """What gRPC listens with, after the files were read for the first time.

        A connection keeps the certificates of its handshake: gRPC shows new ones on new connections.
        """
        assert self._now is not None
        mutual = self._config.client_ca is not None
        return grpc.dynamic_ssl_server_credentials(self._now, self._changed, require_client_authentication=mutual)

    def _use(self, made: grpc.ServerCertificateConfiguration) -> None:
        self._now = made

    def _changed(self) -> Any:
        """The certificate, if it is another than at the handshake before, else None, which means "as before" to gRPC.

        Called in threads of gRPC, at each handshake. Two at the same time may both see the change, or one of them may
        get the old certificate once more: neither does harm.
        """
        now = self._now
        if now is self._given:
            return None
        self._given = now
        return now

    def _made(self, contents: list[bytes]) -> grpc.ServerCertificateConfiguration:
        """Raises ``ValueError``, which names a wrong file, as gRPC itself would not."""
        config = self._config
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.certificate, config.key, password="")
            if config.client_ca is not None:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(config.client_ca)
        except ssl.SSLError as error:
            raise ValueError(
                f"{error.reason or error}; they must be PEM, and the key the certificate's own, not encrypted"
            ) from None
        key, certificate, *authority = contents
        return grpc.ssl_server_certificate_configuration([(key, certificate)], *authority)
