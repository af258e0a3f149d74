"""TLS options of lambda processes and of the operator's commands: whom they trust, and how they identify themselves.

Both have the same options, so a failure has the same text in both.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
# Tags and object identifiers of X.509 in DER.
_VERSION, _EXTENSIONS, _DNS_NAME, _IP_ADDRESS = 0xA0, 0xA3, 0x82, 0x87
_SUBJECT_ALT_NAME = b"\x55\x1d\x11"
_COMMON_NAME = b"\x55\x04\x03"


class Tls(NamedTuple):
    """How a channel is encrypted. All contents are PEM."""

    ca: bytes | None = None
    """The trusted authorities; None: the system's."""
    certificate: bytes | None = None
    """The client's own certificate; None: none."""
    key: bytes | None = None
    """The key of `certificate`."""
    name: str | None = None
    """The name that has to be in the sidecar's certificate; None: the name that is dialled."""
    trusts: str = "the system's authorities"
    """What is trusted, in words for an error message."""


class Files(NamedTuple):
    """The files that the command line names."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def from_files(files: Files, pinned: Path | None = None, name: str | None = None) -> Tls:
    """Read and check the files, so that a mistake is reported with the file's name and not as a failed handshake.

    Raises ``ValueError`` when a file cannot be used; the text says which and why.

    Args:
        files: the files of the command line, which come first.
        pinned: the server's own certificate, which the client found in the server's config.
        name: the name that has to be in the certificate; None: the one that is dialled, or any with ``pinned``.
    """
    if (files.certificate is None) != (files.key is None):
        raise ValueError("a client certificate and its key go together: give both --tls-cert and --tls-key")
    shown = _pair(files.certificate, files.key) if files.certificate and files.key else Tls()
    if files.ca is not None:
        ca = _read(files.ca)
        _check_authorities(ca, str(files.ca))
        return shown._replace(ca=ca, trusts=str(files.ca), name=name)
    if pinned is None:
        return shown._replace(name=name)
    # The client runs where the config is, so the file is the very certificate that the sidecar shows. To trust only
    # this one is the strictest check there is: no authority could sign another one that passes. So the name in it
    # decides nothing any more, and may differ from the loopback address that is dialled. The chain that follows it in
    # the file is left out: it would let in every certificate that its authorities have signed.
    match = _CERTIFICATE.search(_read(pinned).decode(errors="replace"))
    if match is None:
        raise ValueError(f"{pinned}, server.tls.certificate of the config, has no PEM certificate; give --tls-ca")
    _check_authorities(match[0].encode(), str(pinned))
    trusts = f"only the certificate in {pinned} (was it renewed since the sidecar started?)"
    name = name or certificate_name(ssl.PEM_cert_to_DER_cert(match[0]))
    return shown._replace(ca=match[0].encode(), name=name, trusts=trusts)


def is_connecting(details: str) -> bool:
    """Whether the call did not reach the sidecar. The status does not say: the sidecar sends UNAVAILABLE too."""
    return any(text in details for text in ("failed to connect", "resolution failed", "refused"))


def about_handshake(address: str, tls: Tls | None, details: str) -> str:
    """Return what went wrong with TLS and what helps; empty when something else went wrong."""
    closed = "Socket closed" in details or "onnection reset" in details
    if tls is None:
        # A server with TLS hangs up on a client without TLS, and says nothing.
        remedy = "if its server.tls is set, give --tls-ca FILE with its authority, or --tls for the system's"
        return f"{address} closed the connection before it answered; {remedy} ({details})" if closed else ""
    if "Hostname Verification" in details or "not in peer certificate" in details:
        what = "the certificate is for another name"
        remedy = "dial a name that is in it: --address NAME:PORT"
    elif "CERTIFICATE_VERIFY_FAILED" in details:
        what = "the certificate is not trusted"
        remedy = f"trusted is {tls.trusts}; --tls-ca FILE names the authority that signed it"
    elif "WRONG_VERSION_NUMBER" in details:
        what = "the other side does not speak TLS"
        remedy = "leave out --tls, --tls-ca, --tls-cert and their variables"
    elif closed and tls.certificate is None:
        what = "it closed the connection"
        remedy = "where server.tls.client_ca is set it asks for a client certificate: give --tls-cert and --tls-key"
    elif closed or "handshake" in details:
        what = "the handshake failed"
        remedy = "compare --tls-ca, --tls-cert and --tls-key with server.tls of its config"
    else:
        return ""
    return f"no TLS with {address}: {what}; {remedy} ({details})"


def never_works(details: str) -> bool:
    """Whether a failed handshake fails again until the settings of one side are changed."""
    texts = ("CERTIFICATE_VERIFY_FAILED", "Hostname Verification", "not in peer certificate", "WRONG_VERSION_NUMBER")
    return any(text in details for text in texts)


def certificate_name(der: bytes) -> str | None:
    """Find a name for which this certificate is valid; None when none is found.

    Python's `ssl` decodes only the certificates of peers. A wrong answer here is no risk: this is used for a pinned
    certificate only, and the handshake fails with a name that the certificate does not have.
    """
    try:
        signed = next(_elements(next(_elements(der))[1]))[1]
        fields = list(_elements(signed))
        names = [*_alternative_names(fields)] or [*_common_names(fields)]
    except (IndexError, StopIteration, RuntimeError, ValueError):  # RuntimeError: a StopIteration in a generator
        return None
    return names[0] if names else None


def _alternative_names(fields: list[tuple[int, bytes]]) -> Iterator[str]:
    for tag, content in fields:
        if tag != _EXTENSIONS:
            continue
        for _, extension in _elements(next(_elements(content))[1]):
            parts = list(_elements(extension))
            if parts[0][1] != _SUBJECT_ALT_NAME:
                continue
            for kind, value in _elements(next(_elements(parts[-1][1]))[1]):
                if kind == _DNS_NAME:
                    yield value.decode("ascii").replace("*", "any", 1)
                elif kind == _IP_ADDRESS:
                    yield str(ipaddress.ip_address(value))


def _common_names(fields: list[tuple[int, bytes]]) -> Iterator[str]:
    """Return the common names, which count in a certificate without alternative names."""
    # Version (not in the oldest kind), serial number, algorithm, issuer, validity, subject.
    subject = fields[5 if fields[0][0] == _VERSION else 4]
    for _, names in _elements(subject[1]):
        for _, pair in _elements(names):
            (_, kind), (_, value) = _elements(pair)
            if kind == _COMMON_NAME:
                yield value.decode("ascii").replace("*", "any", 1)


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Return tag and content of each element, one level deep."""
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[at : at + size])
            at += size
        yield tag, der[at : at + length]
        at += length


def _pair(certificate: Path, key: Path) -> Tls:
    made = Tls(certificate=_read(certificate), key=_read(key))
    try:
        # An empty password, since OpenSSL would ask for one on the terminal otherwise.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        reason = (error.reason if isinstance(error, ssl.SSLError) else None) or error
        raise ValueError(
            f"{certificate} and {key} cannot be used: {reason}; they must be PEM, and the key the certificate's own, "
            "not encrypted"
        ) from None
    return made


def _check_authorities(pem: bytes, name: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii", errors="ignore"))
    except (ssl.SSLError, ValueError):
        raise ValueError(f"{name} has no usable certificate; it must be PEM") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read: {error.strerror}; --tls-ca names a file with what is to be trusted"
        ) from None
