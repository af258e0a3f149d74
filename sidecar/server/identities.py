"""Who calls, and what each may do: the identities of the config, found by a token or a client certificate.

The tokens themselves are not kept, only a keyed digest of each. A digest is looked up in a dict. How long that takes
depends on the digest, whose key is random and known to nobody, so the time says nothing about a token.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from sidecar.config.identities import OF_ADMIN_TOKEN, OF_TOKEN, Operate, comparable, matches
from sidecar.config.model import ServerConfig


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who may call."""

    name: str
    """For logs and `status`; empty: anybody, where the config asks for no proof."""
    lambdas: tuple[str, ...] = ()
    """Names and patterns of the lambdas for which it may offer."""
    produce: tuple[str, ...] | None = None
    """Names and patterns of the topics to which its lambdas may write, within their own; None: to all of these."""
    operate: Operate = "none"

    def may_offer(self, lambda_name: str) -> bool:
        """Whether it may offer for this lambda."""
        return matches(lambda_name, self.lambdas)

    def may_produce(self, topic: str) -> bool:
        """Whether it may write to this topic, if the lambda may."""
        return self.produce is None or matches(topic, self.produce)


class Caller(NamedTuple):
    """An identity, and how it was proven."""

    identity: Identity
    digest: bytes | None = None
    """Of the token; None: it was proven by a certificate, or needs no proof."""


ANYBODY = Caller(Identity("", ("*",), operate="all"))
"""Every caller, where the config asks for no proof."""

_caller: ContextVar[Caller] = ContextVar("caller", default=ANYBODY)


def caller() -> Caller:
    """Who makes the call that the current task serves."""
    return _caller.get()


def set_caller(found: Caller) -> None:
    """Set who makes the call that the current task serves."""
    _caller.set(found)


class Identities:
    """All identities of one server. Owned by the loop."""

    def __init__(self, config: ServerConfig) -> None:
        self._key = secrets.token_bytes(32)
        self._digests: dict[str, frozenset[bytes]] = {}
        """By the identity's name, of the tokens that it has now."""
        self._by_digest: dict[bytes, Identity] = {}
        self._by_certificate: dict[str, Identity] = {}
        self._listed = {
            one.name: Identity(one.name, one.lambdas, one.produce, one.operate) for one in config.identities
        }
        for one in config.identities:
            if one.certificate is not None:
                self._by_certificate[comparable(one.certificate)] = self._listed[one.name]
        token, admin = config.token, config.admin_token
        self.anybody_offers = token is None and not config.identities
        """Whether offers and calls of lambdas need no proof."""
        self.is_open = self.anybody_offers and admin is None
        """Whether nothing needs a proof."""
        if token is not None:
            operates: Operate = "all" if admin is None or admin == token else "none"
            self._listed[OF_TOKEN] = Identity(OF_TOKEN, ("*",), operate=operates)
            self.set_tokens(OF_TOKEN, [token.get_secret_value()])
        if admin is not None and admin != token:
            self._listed[OF_ADMIN_TOKEN] = Identity(OF_ADMIN_TOKEN, operate="all")
            self.set_tokens(OF_ADMIN_TOKEN, [admin.get_secret_value()])
        for one in config.identities:
            if one.token is not None:
                self.set_tokens(one.name, [one.token.get_secret_value()])

    @property
    def by_certificate(self) -> bool:
        """Whether a certificate may prove an identity."""
        return bool(self._by_certificate)

    def set_tokens(self, name: str, tokens: Iterable[str]) -> list[str]:
        """Replace the tokens of an identity.

        Returns the names of others that have one of them too; a token counts for the one that comes first in the
        config.
        """
        self._digests[name] = frozenset(self._digest(token.encode()) for token in tokens)
        self._by_digest = {
            digest: self._listed[one] for one in reversed(self._listed) for digest in self._digests.get(one, ())
        }
        return [one for one in self._digests if one != name and self._digests[one] & self._digests[name]]

    def for_command(self, lambda_name: str) -> str | None:
        """A new token with which a process may offer for this lambda alone; None: it needs none.

        A process that the sidecar itself starts gets it.
        """
        if self.anybody_offers:
            return None
        token = secrets.token_urlsafe(32)
        name = f"command:{lambda_name}"  # the config allows no colon
        self._listed[name] = Identity(name, (lambda_name,))
        self.set_tokens(name, [token])
        return token

    def with_token(self, token: bytes) -> Caller | None:
        """Who has this token, if anybody has."""
        digest = self._digest(token)
        identity = self._by_digest.get(digest)
        return None if identity is None else Caller(identity, digest)

    def with_certificate(self, properties: Mapping[str, Iterable[bytes]]) -> Caller | None:
        """Whose certificate this is; ``properties`` are those of gRPC's `auth_context`.

        A common name counts only in a certificate without alternative names, as in RFC 6125: authorities check the
        alternative names, and may let the client choose the common name.
        """
        kinds = ("peer_dns", "peer_uri") if properties.get("x509_subject_alternative_name") else ("x509_common_name",)
        for kind in kinds:
            for name in properties.get(kind, ()):
                identity = self._by_certificate.get(comparable(name.decode(errors="replace")))
                if identity is not None:
                    return Caller(identity)
        return None

    def still_valid(self, one: Caller) -> bool:
        """Whether the caller's proof is still accepted."""
        return one.digest is None or self._by_digest.get(one.digest) == one.identity

    def _digest(self, token: bytes) -> bytes:
        return blake2b(token, key=self._key, digest_size=32).digest()
