"""The list `server.identities`: who may dial the sidecar, how each proves it, and what each may do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from sidecar.config.base import Section, Wrong, did_you_mean, mistake
from sidecar.config.credentials import File, Token
from sidecar.config.units import quoted

MAX_IDENTITIES = 1_000

OF_TOKEN, OF_ADMIN_TOKEN = "token", "admin_token"
"""The identities of `server.token` and `server.admin_token`."""

_PROOFS = ("token", "token_file", "certificate")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_PATTERN = re.compile(r"[A-Za-z0-9._*-]{1,249}", re.ASCII)

Operate = Literal["none", "read", "all"]


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise mistake(f"{quoted(value)} cannot be an identity's name", "use 1 to 100 of a-z A-Z 0-9 . _ -")
    if value in (OF_TOKEN, OF_ADMIN_TOKEN):
        raise mistake(f"this is the name of the identity of server.{value}", "take another")
    return value


def _pattern(value: str) -> str:
    if not _PATTERN.fullmatch(value):
        raise mistake(f"{quoted(value)} is no name and no pattern", "a pattern has * in it, as in orders-*")
    return value


def _certificate(value: str) -> str:
    if not value or len(value) > 2_048 or not all("!" <= character <= "~" for character in value):
        raise mistake(
            f"{quoted(value)} is no name in a certificate", "as in billing.example, or spiffe://example/billing"
        )
    if "*" in value:
        raise mistake(f"{quoted(value)} is a pattern", "write the name that is in the certificate")
    return value


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Patterns = Annotated[tuple[Annotated[str, AfterValidator(_pattern)], ...], BeforeValidator(_listed)]


class IdentityConfig(Section):
    """Somebody who may dial the sidecar. One of `token`, `token_file` and `certificate` proves it."""

    name: Annotated[str, AfterValidator(_name)]
    """What logs and `status` call it."""

    token: Token | None = None
    """What its calls carry as `authorization: Bearer TOKEN`."""

    token_file: File | None = None
    """A file with its tokens, one in each line; each of them is accepted. It is read again when it changes. A call
    with a token that is gone is refused, and a stream that began with it is ended."""

    certificate: Annotated[str, AfterValidator(_certificate)] | None = None
    """The name in the client certificate that it shows: a DNS name or URI among the alternative names; the common
    name, if the certificate has no alternative names. Needs `tls.client_ca`."""

    lambdas: Patterns = ()
    """The lambdas for which it may offer. `*` stands for any characters. Default: none."""

    produce: Patterns | None = None
    """The topics to which its lambdas may write; their own `produce` must allow the topic too. `*` stands for any
    characters. Default: all that the lambda's `produce` allows."""

    operate: Operate = "none"
    """Which commands of operators it may use, for all lambdas. Default none. read: `status` only. all: also `pause`,
    `resume` and `seek`."""

    @classmethod
    def mistakes(cls, data: Mapping[Any, Any]) -> Iterator[Wrong]:
        """An identity that nothing proves or several things do, and one that may do nothing."""
        given = [key for key in _PROOFS if data.get(key) is not None]
        if not given:
            yield Wrong((), "nothing proves this identity", f"add one of {', '.join(_PROOFS)}")
        elif len(given) > 1:
            message = f"`{given[0]}` and `{given[1]}` are both here, and one of them would be enough"
            yield Wrong((given[1],), message, "keep one, or make two identities")
        if not data.get("lambdas") and data.get("operate", "none") == "none":
            yield Wrong((), "this identity may do nothing", "add `lambdas`, or `operate`")


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns stands for this name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def comparable(certificate: str) -> str:
    """A DNS name in small letters, since case means nothing there; a URI as it is."""
    return certificate if "://" in certificate else certificate.lower()


def identity_mistakes(data: Mapping[Any, Any]) -> Iterator[Wrong]:
    """Identities that clash with each other or with the rest of a config.

    ``data`` is raw and may be wrong in any way.
    """
    server, lambdas = data.get("server"), data.get("lambdas")
    identities = server.get("identities") if isinstance(server, Mapping) else None
    if not isinstance(server, Mapping) or not isinstance(identities, list | tuple):
        return
    where = ("server", "identities")
    if len(identities) > MAX_IDENTITIES:
        yield Wrong(where, f"{len(identities)} identities, at most {MAX_IDENTITIES} are possible")
    tls = server.get("tls")
    verified = isinstance(tls, Mapping) and tls.get("client_ca") is not None
    named = {str(name): lambdas[name] for name in lambdas} if isinstance(lambdas, Mapping) else None
    yield from _same(server, identities)
    for index, one in enumerate(identities):
        if not isinstance(one, Mapping):
            continue
        if one.get("certificate") is not None and not verified:
            hint = "add the authority that signs the clients' certificates"
            yield Wrong((*where, index, "certificate"), "needs server.tls.client_ca, which is not there", hint)
        for wrong in _useless_patterns(one, named) if named is not None else ():
            yield wrong._replace(loc=(*where, index, *wrong.loc))


def _same(server: Mapping[Any, Any], identities: Sequence[Any]) -> Iterator[Wrong]:
    """Identities with one name, or with one token, file or certificate."""
    taken: dict[tuple[str, str], str] = {}
    for key in (OF_ADMIN_TOKEN, OF_TOKEN):
        if isinstance(token := server.get(key), str):
            taken["token", token] = f"server.{key}"
    for index, one in enumerate(identities):
        for key in ("name", *_PROOFS) if isinstance(one, Mapping) else ():
            value = one.get(key)
            if not isinstance(value, str):
                continue
            here = f"server.identities[{index}]"
            first = taken.setdefault((key, comparable(value) if key == "certificate" else value), here)
            if first != here:
                yield Wrong(("server", "identities", index, key), f"{first} has the same", "give each its own")


def _useless_patterns(identity: Mapping[Any, Any], lambdas: Mapping[str, Any]) -> Iterator[Wrong]:
    """Patterns of an identity that stand for no lambda, and for no topic that its lambdas may write to."""
    offered: set[str] = set()
    unknown = False
    for loc, pattern in _patterns(identity, "lambdas"):
        found = {name for name in lambdas if fnmatchcase(name, pattern)}
        offered |= found
        if not found:
            unknown = True
            hint = did_you_mean(pattern, lambdas) or f"there are: {', '.join(sorted(lambdas))}"
            yield Wrong(loc, f"no lambda is called {quoted(pattern)}", hint)
    if unknown:
        return
    topics: set[str] = set()
    for name in offered:
        allowed = lambdas[name].get("produce") if isinstance(lambdas[name], Mapping) else None
        topics |= set(_texts(allowed))
    for loc, pattern in _patterns(identity, "produce"):
        if not any(fnmatchcase(topic, pattern) for topic in topics):
            there = ", ".join(sorted(topics)) or "none"
            hint = f"their `produce` allows: {there}"
            yield Wrong(loc, f"none of its lambdas may write to {quoted(pattern)}", hint)


def _patterns(identity: Mapping[Any, Any], key: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The well-formed patterns below a key, with their places."""
    value = identity.get(key)
    for index, text in enumerate(_texts(value)):
        if _PATTERN.fullmatch(text):
            yield (key,) if isinstance(value, str) else (key, index), text


def _texts(value: Any) -> list[str]:
    """A text, or a list of texts, as a list."""
    if isinstance(value, str):
        return [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else []
