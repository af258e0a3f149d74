"""Mistakes in the `kafka` section. Kafka's own client library checks names and values; we check what it lets pass."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sidecar.config.kafka_names import CALLBACK, CHOICES, FILES, JAVA, OFTEN_USED, OWNED
from sidecar.config.kafka_properties import (
    ASSIGNOR,
    EMBEDDED,
    MIN_PREFETCHED_MESSAGES,
    PROTOCOL,
    Property,
    as_text,
    built,
    is_embedded,
)
from sidecar.config.mistakes import joined
from sidecar.config.units import quoted
from sidecar.redact import is_secret


class Problem(NamedTuple):
    """One mistake in the Kafka properties."""

    name: str
    """The property's name; empty when the properties as a whole are wrong."""
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.name}: {self.message}" if self.name else self.message
        return joined(text, self.hint)


def check(properties: Mapping[Any, Any]) -> list[str]:
    """All mistakes in a user's Kafka properties, as texts. No connection is made."""
    return [str(problem) for problem in problems(properties)]


def problems(properties: Mapping[Any, Any]) -> list[Problem]:
    """All mistakes in a user's Kafka properties (values as YAML gives them); no connection is made.

    librdkafka itself checks names and values, and reads the certificates and keys that they name.
    """
    found: list[Problem] = []
    good: dict[str, str] = {}
    for name, value in properties.items():
        problem = _refused(name, value)
        if problem:
            found.append(problem)
        else:
            good[name] = as_text(value)
    found += _servers(properties)
    if is_embedded(properties.get("bootstrap.servers")):
        found += _embedded(good)
    wrong = {problem.name for problem in found}  # reported already: librdkafka would report them again
    return found + _rejected({name: value for name, value in good.items() if name not in wrong})


def _refused(name: Any, value: Any) -> Problem | None:
    """The mistake in one property that we find before we ask librdkafka."""
    if not isinstance(name, str):
        return Problem(str(name), f"a property's name must be text, this is {name!r}", "put it in quotes")
    if name in OWNED or name.endswith("_cb"):
        return Problem(name, "the sidecar sets this one itself", OWNED.get(name, CALLBACK))
    if name in JAVA:
        return Problem(name, "a property of Kafka's Java client, which librdkafka does not have", JAVA[name])
    if not isinstance(value, Property):
        return _no_value(name, value)
    if "\0" in f"{name}{value}":
        return Problem(name, "has a NUL in it, where Kafka's client library would cut it off")
    return _misread(name, as_text(value)) or _missing_file(name, as_text(value))


def _no_value(name: str, value: Any) -> Problem:
    """The mistake of a property whose value is no text, number or boolean."""
    if isinstance(value, Mapping) and is_secret(name):  # such as a password that begins with `{`
        return Problem(name, "expected a value, not a mapping", "put it in quotes")
    if isinstance(value, Mapping):
        inner = next(iter(value), "...")
        return Problem(name, "expected a value, not a mapping", f"write the name in one piece: {name}.{inner}")
    if isinstance(value, list | tuple):
        return Problem(name, "expected a value, not a list", 'write one text with commas: "a,b"')
    hint = "give it a value, or delete the key" if value is None else "put it in quotes"
    return Problem(name, f"expected a text, a number or a boolean, not {_kind(value)}", hint)


_NUMBER_OF = {".ms": "milliseconds", ".bytes": "bytes", ".kbytes": "kilobytes"}
_MAX_NUMBER = 2**31 - 1
_FRACTIONS = frozenset({"linger.ms", "queue.buffering.max.ms"})
"""These may have a fraction of a millisecond."""


def _misread(name: str, text: str) -> Problem | None:
    """Values that librdkafka would read as others: of `45s` it takes the 45, and of 3000000000 the lowest 32 bits."""
    unit = next((unit for ending, unit in _NUMBER_OF.items() if name.endswith(ending)), None)
    if unit is not None and name not in _FRACTIONS:
        if not re.fullmatch(r"-?[0-9]+", text):
            return Problem(
                name, f"expected a number of {unit}, not {quoted(text)}", "write digits only, without a unit"
            )
        if abs(int(text)) > _MAX_NUMBER:
            return Problem(name, f"expected at most {_MAX_NUMBER}, not {quoted(text)}")
    choices = CHOICES.get(name)
    if choices is not None and text.lower() not in choices:
        close = difflib.get_close_matches(text.lower(), choices, n=1)
        hint = f"did you mean `{close[0]}`?" if close else ""
        return Problem(name, f"expected {', '.join(choices[:-1])} or {choices[-1]}, not {quoted(text)}", hint)
    return None


def _missing_file(name: str, text: str) -> Problem | None:
    if name not in FILES or text == "probe" or Path(text).exists():
        return None
    hint = "a relative path starts where the sidecar was started"
    return Problem(name, f"there is no file {quoted(text)}", hint)


_NOT_OF_A_HOST = re.compile(r"[\s$\"'{}=;|]")


def _servers(properties: Mapping[Any, Any]) -> list[Problem]:
    name = "bootstrap.servers"
    servers = properties.get(name)
    example = "for example localhost:9092, or embedded for a broker that the sidecar starts itself"
    if name not in properties or servers == "":
        return [Problem(name, "missing: where is Kafka?", example)]
    if not isinstance(servers, str) or servers == EMBEDDED:
        return []
    if is_embedded(servers):
        port = servers.removeprefix(f"{EMBEDDED}:")
        good = _is_port(port)
        return [] if good else [Problem(name, f"{servers!r} has no valid port", "for example embedded:19092")]
    if "@" in servers:  # not quoted: a password is in it
        return [Problem(name, "a server has no user and no password", "write sasl.username and sasl.password")]
    found = []
    for server in servers.split(","):
        _, colon, port = server.strip().rpartition(":")
        if not server.strip():
            found.append(Problem(name, f"an empty entry in {servers!r}", "host:port, separated by commas"))
        elif server.count(":") > 1 and "[" not in server and "://" not in server:
            hint = "an IPv6 address needs brackets, as in [::1]:9092"
            found.append(Problem(name, f"{server.strip()!r} is no host:port", hint))
        elif _NOT_OF_A_HOST.search(server.strip()):
            found.append(Problem(name, f"{server.strip()!r} is no host:port", example))
        elif colon and not server.strip().endswith("]") and not _is_port(port):
            found.append(Problem(name, f"{server.strip()!r} has no valid port", example))
    return found


def _is_port(text: str) -> bool:
    """Whether this is the number of a port that can be dialled."""
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536


def _embedded(good: Mapping[str, str]) -> list[Problem]:
    """Properties that the embedded broker does not support: its members would wait for partitions for ever."""
    found = []
    if good.get(PROTOCOL, "classic").lower() != "classic":
        found.append(Problem(PROTOCOL, "the embedded broker knows `classic` only", "leave it out"))
    if good.get(ASSIGNOR, "range") != "range":
        found.append(Problem(ASSIGNOR, "the embedded broker knows `range` only", "leave it out"))
    return found


# librdkafka's messages name the property on the left when the user wrote the property on the right.
_ALIASES = {"fetch.message.max.bytes": "max.partition.fetch.bytes", "sasl.mechanisms": "sasl.mechanism"}
_NAMED = re.compile(r'property: "(?P<unknown>.*)"|property "(?P<name>.*?)"|(?P<first>ssl\.[a-z.]+)(?: failed)?: ')
_MISSING_MECHANISM = re.compile(r"No provider for SASL mechanism ([A-Z0-9-]+)")
_MECHANISM = ("sasl.mechanism", "sasl.mechanisms")
_SET_MECHANISM = "set sasl.mechanism to PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"
_TEXTS = frozenset({"ssl.ca.pem", "ssl.certificate.pem", "ssl.key.pem"})


def _rejected(good: Mapping[str, str]) -> list[Problem]:
    """The mistakes that librdkafka finds. It stops at the first, so we remove that property and ask again."""
    from confluent_kafka import Consumer, KafkaException  # noqa: PLC0415 - `status` and `--help` need no client

    quiet = logging.getLogger("sidecar.config.kafka_properties")
    quiet.propagate = False  # the exception has the same text
    quiet.addHandler(logging.NullHandler())
    trial = built(good, "check", MIN_PREFETCHED_MESSAGES)
    found: list[Problem] = []
    while True:
        trial.pop("bootstrap.servers", None)  # without a server there is nothing to connect to
        try:
            Consumer(trial, logger=quiet).close()
        except KafkaException as error:
            text = error.args[0].str().strip()
            match = _NAMED.search(text)
            named = (match["unknown"] or match["name"] or match["first"] or "") if match else ""
            if (mechanism := _MISSING_MECHANISM.search(text)) is not None:
                given = next((n for n in _MECHANISM if n in good), "")
                found.append(Problem(given, f"Kafka's client library has no {mechanism[1]} here", _SET_MECHANISM))
                trial = {n: v for n, v in trial.items() if n not in (*_MECHANISM, "security.protocol")}
                continue
            name = next((n for n in (named, _ALIASES.get(named)) if n in good and n in trial), None)
            if name is None:  # about the properties as a whole: no single one can be removed
                return [*found, Problem("", _plain(text))]
            if match and match["unknown"]:
                found.append(Problem(name, "unknown property", _closest(name)))
            elif name in _TEXTS:
                found.append(Problem(name, "Kafka's client library cannot use it", _how_to_give(name)))
            elif name in FILES:
                found.append(
                    Problem(
                        name, f"Kafka's client library cannot use the file {quoted(good[name])}", _how_to_give(name)
                    )
                )
            else:
                found.append(Problem(name, _plain(text)))
            del trial[name]
        except (TypeError, ValueError) as error:  # the binding's own checks, such as for a NUL in a text
            return [*found, Problem("", _plain(str(error)))]
        else:
            return found


def _how_to_give(name: str) -> str:
    """How a certificate or a key has to be given to a property of librdkafka."""
    password = "; if it is encrypted, with the right ssl.key.password" if ".key." in name else ""
    if name.endswith(".pem"):
        return f"write it out in PEM, with its line ends; a file goes to {name.removesuffix('pem')}location{password}"
    if ".keystore." in name:
        return "it must be PKCS#12, with the right ssl.keystore.password"
    return f"it must be in PEM{password}"


def _plain(text: str) -> str:
    return f"Kafka's client library refuses it: {text.removeprefix('Failed to create consumer: ')}"


def _closest(name: str) -> str:
    close = difflib.get_close_matches(name, OFTEN_USED, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    is_ours = name in {"token", "admin_token", "tls", "listen"}
    return f"`{name}` belongs below `server`" if is_ours else "librdkafka's CONFIGURATION.md lists them all"


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
