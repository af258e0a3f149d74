"""The config as a whole: Kafka, the server for lambdas, the operator's endpoint, and the lambdas.

Every section is immutable. Where a value is a duration it is in seconds, where it is a size it is in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PrivateAttr

from sidecar.config.address import Endpoint, parse_endpoint
from sidecar.config.base import Loc, Section, Wrong, mistake
from sidecar.config.credentials import File, Token
from sidecar.config.identities import IdentityConfig, identity_mistakes
from sidecar.config.kafka_mistakes import problems
from sidecar.config.kafka_names import OFTEN_USED
from sidecar.config.kafka_properties import is_embedded, normalised
from sidecar.config.lambdas import LAMBDA_NAME, LambdaConfig, dead_letter_default_mistakes, raw_topics
from sidecar.config.listeners import DEFAULT_LISTEN, DEFAULT_OPERATE, beyond_loopback, listener_mistakes
from sidecar.config.units import BytesOrOff, shown_size
from sidecar.redact import MaskedDict, masked
from sidecar.shared_memory.ring import ring_size

_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)


def _listen(value: str) -> str:
    try:
        return str(parse_endpoint(value))
    except ValueError as error:
        raise mistake(str(error)) from None


def _listen_tcp(value: str) -> str:
    try:
        return str(parse_endpoint(value, unix=False))
    except ValueError as error:
        raise mistake(str(error)) from None


def _mode(value: Any) -> Any:
    example = 'for example "0660": its owner and its group may connect'
    if not isinstance(value, str):
        raise mistake("expected a mode in octal digits, in quotes", example)
    if not _MODE.fullmatch(value):
        raise mistake(f"{value!r} is no mode in octal digits", example)
    return value


def _none_is_empty(value: Any) -> Any:
    return {} if value is None else value


def _properties(value: Any) -> Any:
    return normalised(value) if isinstance(value, Mapping) else value


class TlsConfig(Section):
    """Encryption of the server for lambdas. All files are PEM, and read again when they change."""

    certificate: File
    """The server's certificate, with its chain."""

    key: File
    """The certificate's private key, not encrypted."""

    client_ca: File | None = None
    """Certificate authority of the lambdas. Default: none. With it each lambda must show a certificate that this
    authority has signed (mutual TLS)."""


class ServerConfig(Section):
    """Where lambdas dial."""

    listen: Annotated[str, AfterValidator(_listen)] = DEFAULT_LISTEN
    """`host:port`, `[ipv6]:port` or `unix:///path`. Default 127.0.0.1:50051. Port 0: any free one, it is logged.
    A Unix socket is reached only by those whom `socket_mode` and its directory let in."""

    socket_mode: Annotated[str, BeforeValidator(_mode)] = "0660"
    """The mode of a Unix socket, in octal digits and in quotes. Default "0660": its owner and its group may connect,
    and nobody else. Without a Unix socket it means nothing."""

    shared_memory: BytesOrOff = 0
    """Memory that the sidecar shares with lambda processes on a Unix socket, all of them together, such as 128MiB.
    Default `off`: none. Large frames go through it instead of the socket, which takes less CPU time. Each partition
    gets four times its lambda's `frame.bytes`, as long as there is some left; the others get all frames through the
    socket. It needs Linux on x86-64; elsewhere a warning is logged, and no memory is shared."""

    token: Token | None = None
    """What each call must carry as `authorization: Bearer TOKEN`. `$KAFKA_SIDECAR_TOKEN` comes before it. Default:
    none, then everybody who reaches the address may take partitions."""

    admin_token: Token | None = None
    """What calls of operators (`status`, `pause`, `resume`, `seek`) must carry in place of `token`. Default: none,
    then they need what lambdas need. With it a lambda's token does not let anybody operate the sidecar."""

    identities: tuple[IdentityConfig, ...] = ()
    """Who else may dial, and what each may do, besides those who have `token` or `admin_token`. Default: nobody."""

    tls: TlsConfig | None = None
    """Encryption. Default: none."""

    insecure: bool = False
    """Whether to listen beyond loopback with neither `token`, `identities` nor `tls`. Default false: refused, since
    everybody who reaches the address could read and commit the partitions."""

    @classmethod
    def mistakes(cls, data: Mapping[Any, Any]) -> Iterator[Wrong]:
        """An address that others can reach and that nothing protects."""
        if data.get("token") is None and not data.get("identities") and data.get("tls") is None:
            danger = "everybody who reaches it could read and commit your partitions"
            remedy = "set server.token, server.identities or server.tls, or listen on 127.0.0.1 or a Unix socket"
            yield from beyond_loopback(data, "server", danger, remedy)

    @property
    def endpoint(self) -> Endpoint:
        """`listen`, taken apart."""
        return parse_endpoint(self.listen)

    @property
    def mode(self) -> int:
        """`socket_mode` as a number."""
        return int(self.socket_mode, 8)


class OperateConfig(Section):
    """The operator's HTTP endpoint: the page at /, /metrics, /healthz, /readyz."""

    listen: Annotated[str, AfterValidator(_listen_tcp)] = DEFAULT_OPERATE
    """`host:port` or `[ipv6]:port`. Default 127.0.0.1:8080. Port 0: any free one, it is logged. What can
    be read there needs no token; what the page can do needs `server.admin_token`."""

    insecure: bool = False
    """Whether to listen beyond loopback. Default false: refused, since everybody who reaches the address can read
    what is there."""

    partition_metrics: bool = True
    """Whether `/metrics` has those of each partition too. Default true. A sidecar with thousands of partitions may
    turn them off: they are ten series each. Those of its lambda stay."""

    @classmethod
    def mistakes(cls, data: Mapping[Any, Any]) -> Iterator[Wrong]:
        """An address that others can reach and that nothing protects."""
        danger = "everybody who reaches it could read the state of your lambdas, for there is no authentication"
        yield from beyond_loopback(data, "operate", danger, "listen on 127.0.0.1")

    @property
    def endpoint(self) -> Endpoint:
        """`listen`, taken apart."""
        return parse_endpoint(self.listen, unix=False)


class Config(Section):
    """A whole config file."""

    kafka: Annotated[dict[str, str], BeforeValidator(_properties), AfterValidator(MaskedDict)]
    """Any librdkafka property, passed through as it is; `bootstrap.servers` is required. The value `embedded`
    starts a broker of our own, for development: it keeps nothing. `embedded:PORT` says on which port of
    127.0.0.1; without it any free one is taken, and logged."""

    server: Annotated[ServerConfig, BeforeValidator(_none_is_empty)] = ServerConfig()
    """Where lambdas dial."""

    operate: OperateConfig | None = None
    """The operator's HTTP endpoint. Default: the section is absent, and there is none."""

    lambdas: dict[str, LambdaConfig]
    """The lambdas by name. At least one."""

    _source: Path | None = PrivateAttr(default=None)
    _variables: Mapping[str, set[Loc]] = PrivateAttr(default_factory=dict)
    _line: Callable[[Loc], int | None] | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        """Keep the file's path, its variables and its lines, when there is a file."""
        if isinstance(context, Mapping):
            self._source = context.get("file")
            self._variables = context.get("variables") or {}
            self._line = context.get("line")

    @property
    def source(self) -> Path | None:
        """The file from which this was read; None when it was made in Python."""
        return self._source

    def line(self, loc: Loc) -> int | None:
        """The line of a value in the file; None: unknown."""
        return None if self._line is None else self._line(loc)

    def withheld(self, lambda_name: str) -> set[str]:
        """The environment variables that the process of a lambda does not inherit.

        These are the variables in `kafka` and `server`: Kafka's passwords, operators' tokens. A variable that the
        lambda's own section names too is inherited.
        """
        own = ("lambdas", lambda_name)
        return {
            name
            for name, paths in self._variables.items()
            if any(path[:1] in (("kafka",), ("server",)) for path in paths)
            and not any(path[:2] == own for path in paths)
        }

    @property
    def embedded(self) -> bool:
        """Whether the sidecar starts the embedded broker."""
        return is_embedded(self.kafka.get("bootstrap.servers"))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Settings that are allowed but probably not meant, one sentence each. What is not allowed is a mistake."""
        return (*_open_doors(self.server), *_useless(self.server, self.lambdas))

    @classmethod
    def where_else(cls, key: str) -> str:
        """Keys of the sections below."""
        if key in OFTEN_USED:
            return f"`{key}` belongs below `kafka`, with spaces before it"
        sections = (("server", ServerConfig), ("operate", OperateConfig), ("a lambda", LambdaConfig))
        owners = [name for name, section in sections if key in {*section.keys()}]
        return f"`{key}` belongs below {' or '.join(owners)}, with spaces before it" if owners else ""

    @classmethod
    def mistakes(cls, data: Mapping[Any, Any]) -> Iterator[Wrong]:
        """Wrong Kafka properties, wrong names of lambdas, and lambdas that would share partitions."""
        kafka = data.get("kafka")
        if isinstance(kafka, Mapping):
            for problem in problems(kafka):
                where = ("kafka", problem.name) if problem.name else ("kafka",)
                yield Wrong(where, problem.message, problem.hint)
        yield from listener_mistakes(data)
        yield from identity_mistakes(data)
        lambdas = data.get("lambdas")
        if isinstance(lambdas, Mapping):
            yield from _lambda_mistakes(lambdas)
            yield from _transaction_mistakes(lambdas, kafka if isinstance(kafka, Mapping) else {})


def describe(config: Config) -> dict[str, Any]:
    """The effective config with its defaults, as JSON types, for logs.

    Every secret is `****`. Of `settings` and `env` only the keys are shown, and of `command` only the program: any
    value there may be a secret.
    """
    shown: dict[str, Any] = masked(config.model_dump(mode="json"))
    shown["kafka"] = {name: _in_one_line(value) for name, value in shown["kafka"].items()}
    for one in shown["lambdas"].values():
        one["settings"] = [*one["settings"]]
        one["env"] = None if one["env"] is None else [*one["env"]]
        one["command"] = None if one["command"] is None else one["command"][0]
    return shown


def _in_one_line(value: str) -> str:
    """The value's first line: a certificate in `ssl.ca.pem` has thirty."""
    first, end, _ = value.partition("\n")
    return f"{first} ..." if end else value


def _useless(server: ServerConfig, lambdas: Mapping[str, LambdaConfig]) -> Iterator[str]:
    if not server.shared_memory:
        return
    for name, one in lambdas.items():
        if (least := ring_size(one.frame.bytes)) > server.shared_memory:
            what = f"too little for a partition of {name}, which takes four times its frame.bytes"
            yield f"server.shared_memory: {what}; give at least {shown_size(least)}, or leave it out"
    if not server.endpoint.path:
        remedy = "let server.listen name one (unix:///path), or leave it out"
        yield f"server.shared_memory: no memory is shared, since only a Unix socket can hand it over; {remedy}"


def _open_doors(server: ServerConfig) -> Iterator[str]:
    if server.admin_token is not None and server.admin_token == server.token:
        yield "server.admin_token: it is the same as server.token, so every lambda may operate the sidecar; change it"
    if server.endpoint.local or server.token is not None or server.identities:
        return
    if server.tls is None:
        danger = f"everybody who reaches {server.listen} can read and commit your partitions"
        ways = "set server.token, server.identities, or server.tls with client_ca"
        remedy = f"{ways}, or listen on 127.0.0.1 or a Unix socket"
        yield f"server.listen: {danger}; {remedy}"
    elif server.tls.client_ca is None:
        danger = f"{server.listen} is encrypted, but everybody who reaches it is let in"
        yield f"server.tls: {danger}; set server.token, server.identities or server.tls.client_ca"


def _lambda_mistakes(lambdas: Mapping[Any, Any]) -> Iterator[Wrong]:
    if not lambdas:
        yield Wrong(("lambdas",), "expected at least one lambda", "as in: deli: {topic: rawdeltas, group: deli}")
    consumed: dict[tuple[str, str], str] = {}
    for name, one in lambdas.items():
        if isinstance(name, str) and not LAMBDA_NAME.fullmatch(name):
            yield Wrong(("lambdas", name), f"{name!r} cannot be a lambda's name", "use 1 to 249 of a-z A-Z 0-9 . _ -")
        for wrong in dead_letter_default_mistakes(str(name), one):
            yield wrong._replace(loc=("lambdas", str(name), *wrong.loc))
        group = one.get("group") if isinstance(one, Mapping) else None
        if not isinstance(group, str):
            continue
        for topic in dict.fromkeys(raw_topics(one)):
            other = consumed.setdefault((group, topic), str(name))
            if other != str(name):
                message = f"{other} consumes the topic {topic!r} in the group {group!r} as well"
                hint = "they would share its partitions, so each would get a part only: give each its own group"
                yield Wrong(("lambdas", str(name), "group"), message, hint)


def _transaction_mistakes(lambdas: Mapping[Any, Any], kafka: Mapping[Any, Any]) -> Iterator[Wrong]:
    """Lambdas with exactly-once on a broker, or with properties, that cannot do it."""
    for name, one in lambdas.items():
        if not isinstance(one, Mapping) or one.get("guarantee") != "exactly-once":
            continue
        loc = ("lambdas", str(name), "guarantee")
        if is_embedded(kafka.get("bootstrap.servers")):
            message = "exactly-once needs transactions, which the embedded broker does not have"
            yield Wrong(loc, message, "name a real Kafka in kafka.bootstrap.servers, or use at-least-once")
        if str(kafka.get("isolation.level", "")).strip().lower() == "read_uncommitted":
            message = (
                "exactly-once would handle records of aborted transactions with isolation.level read_uncommitted"
            )
            yield Wrong(loc, message, "delete kafka.isolation.level: read_committed is the default")
