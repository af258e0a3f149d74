"""How a command fails: the text it prints and its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from sdk_python._tls import Tls, about_handshake, is_connecting
from sidecar.commands.say import say
from sidecar.config import ConfigError
from sidecar.visible import visible

if TYPE_CHECKING:  # gRPC loads only when it is needed
    import grpc

EXIT_CONFIG = 2
"""The exit code for a wrong config file or command line; click uses the same."""


EXIT_NEEDS_A_PERSON = 4
"""The exit code of `explain` when something needs a person."""

EXIT_PARTIAL = 3
"""The exit code when only some of several sidecars answered; what those said is shown."""


@contextmanager
def config_mistakes() -> Iterator[None]:
    """Turn ``ConfigError`` into its mistakes on stderr and the exit code ``EXIT_CONFIG``."""
    try:
        yield
    except ConfigError as error:
        for line in error.lines:
            say(visible(line), err=True)
        count = len(error.mistakes)
        say(f"{error.path}: {count} mistake{'' if count == 1 else 's'}, nothing was started", err=True)
        raise click.exceptions.Exit(EXIT_CONFIG) from None


def explained(address: str, tls: Tls | None, error: grpc.RpcError) -> str:
    """Why the sidecar at ``address`` did not do what it was asked, in one sentence that is safe for a terminal."""
    return visible(_explained(address, tls, error.code(), error.details() or "no reason was given"))


def _explained(address: str, tls: Tls | None, code: object, details: str) -> str:
    import grpc  # noqa: PLC0415 - gRPC loads only when it is needed

    if code is grpc.StatusCode.UNAUTHENTICATED:
        return (
            f"the sidecar at {address} refuses the token ({details}); --token, $KAFKA_SIDECAR_ADMIN_TOKEN or "
            "$KAFKA_SIDECAR_TOKEN sets it: the server.admin_token of the sidecar's config, else its server.token, "
            "or that of an identity with `operate`"
        )
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return (
            f"no answer from {address} in time ({details}); does a sidecar run there? If it does, what was asked may "
            "still come to pass: kafka-sidecar status shows it"
        )
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"the sidecar at {address} does not know this command: is it an older version? ({details})"
    if code is not grpc.StatusCode.UNAVAILABLE:
        return f"the sidecar at {address} refuses: {details}"
    if not is_connecting(details):
        return f"the sidecar at {address} says: {details}"
    return about_handshake(address, tls, details) or (
        f"no sidecar answers at {address} ({details}); does it run? --address says where to dial"
    )
