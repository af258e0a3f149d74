"""Real Kafka with access control: listeners with passwords and with TLS, and an authorizer.

`address` is still open, and its clients may do anything: tests create topics and change rights through it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public, but not marked so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.servers.kafka import KafkaServer, KafkaServerError
from tests.servers.process import free_ports, last_lines

USER = "alice"
PASSWORD = "alices-secret"
UNKNOWN_HOST = "no-such-host.invalid"
"""One listener advertises this host; its domain is reserved for names that do not exist."""

_LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"


class SecuredKafka(KafkaServer):
    """A Kafka node with passwords, TLS and an authorizer; see the module."""

    def __init__(self) -> None:
        """Starts nothing."""
        super().__init__()
        sasl, tls, lost = free_ports(3)
        self.sasl, self.tls, self.lost = (f"127.0.0.1:{port}" for port in (sasl, tls, lost))
        listens = {"PLAINTEXT": self.address, "SASL": self.sasl, "TLS": self.tls, "LOST": self.lost}
        shows = listens | {"LOST": f"{UNKNOWN_HOST}:{lost}"}
        kinds = {"PLAINTEXT": "PLAINTEXT", "SASL": "SASL_PLAINTEXT", "TLS": "SSL", "LOST": "PLAINTEXT"}
        controller = f"CONTROLLER://127.0.0.1:{self._controller_port}"
        self._settings |= {
            "listeners": ",".join([*(f"{name}://{place}" for name, place in listens.items()), controller]),
            "advertised.listeners": ",".join(f"{name}://{place}" for name, place in shows.items()),
            "listener.security.protocol.map": ",".join(
                f"{name}:{kind}" for name, kind in {**kinds, "CONTROLLER": "PLAINTEXT"}.items()
            ),
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl.plain.sasl.jaas.config": f'{_LOGIN} user_{USER}="{PASSWORD}";',
            # Answer a wrong password at once, as most hosted brokers do.
            "connection.failed.authentication.delay.ms": 0,
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
        }

    @property
    def authority(self) -> Path:
        """The self-signed certificate of the TLS listener."""
        return self.log.parent / "certificate.pem"

    def _prepare(self, folder: Path) -> None:
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        made = subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise KafkaServerError(f"making a certificate failed:\n{last_lines(made.stderr)}")
        both = folder / "both.pem"
        both.write_text(key.read_text() + certificate.read_text())
        self._settings |= {
            "listener.name.tls.ssl.keystore.type": "PEM",
            "listener.name.tls.ssl.keystore.location": both,
        }
        super()._prepare(folder)

    def client(self, password: str = PASSWORD) -> dict[str, str]:
        """The properties of a client that logs in with the password."""
        return {
            "bootstrap.servers": self.sasl,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": password,
        }

    def allow(
        self,
        topics: Iterable[str] = (),
        groups: Iterable[str] = (),
        writes: Iterable[str] = (),
        *,
        describes: Iterable[str] = (),
        transactions: Iterable[str] = (),
    ) -> None:
        """Allow the user to read these topics, to commit for these groups, and to write to the topics of ``writes``.

        ``describes``: topics that it may see; ``transactions``: groups whose sidecars may write in transactions. A
        right to the transactional ids of all groups would reach into the tests that follow: rights stay.
        """
        admin = AdminClient({"bootstrap.servers": self.address})
        bindings = [_allows(ResourceType.TOPIC, topic, AclOperation.READ) for topic in topics]
        bindings += [_allows(ResourceType.GROUP, group, AclOperation.READ) for group in groups]
        bindings += [_allows(ResourceType.TOPIC, topic, AclOperation.WRITE) for topic in writes]
        bindings += [_allows(ResourceType.TOPIC, topic, AclOperation.DESCRIBE) for topic in describes]
        bindings += [
            _allows(
                ResourceType.TRANSACTIONAL_ID,
                f"kafka-sidecar-{group}-",
                AclOperation.WRITE,
                ResourcePatternType.PREFIXED,
            )
            for group in transactions
        ]
        for future in admin.create_acls(bindings).values():
            future.result()

    def forbid(self, topics: Iterable[str] = (), groups: Iterable[str] = ()) -> None:
        """Take these rights from the user."""
        admin = AdminClient({"bootstrap.servers": self.address})
        kinds = [(ResourceType.TOPIC, topic) for topic in topics] + [(ResourceType.GROUP, group) for group in groups]
        filters = [
            AclBindingFilter(
                kind,
                name,
                ResourcePatternType.LITERAL,
                f"User:{USER}",
                "*",
                AclOperation.ANY,
                AclPermissionType.ALLOW,
            )
            for kind, name in kinds
        ]
        for future in admin.delete_acls(filters).values():
            assert future.result(), "there was no such right"


def _allows(
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    pattern: ResourcePatternType = ResourcePatternType.LITERAL,
) -> AclBinding:
    """The right to this operation; that to read or to write includes the right to describe."""
    return AclBinding(kind, name, pattern, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)
