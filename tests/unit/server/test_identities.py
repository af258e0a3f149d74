"""Who a token or a certificate belongs to, and what its identity may do."""

from typing import Any

import pytest

from sidecar.config import ServerConfig
from sidecar.config.identities import IdentityConfig
from sidecar.server.identities import ANYBODY, Caller, Identities, Identity


def identities(*listed: dict[str, Any], **server: Any) -> Identities:
    return Identities(ServerConfig(identities=tuple(IdentityConfig.model_validate(one) for one in listed), **server))


def named(caller: Caller | None) -> str | None:
    return None if caller is None else caller.identity.name


def test_without_any_setting_nobody_has_to_prove_anything() -> None:
    made = identities()
    assert made.is_open
    assert made.anybody_offers
    assert made.for_command("deli") is None
    assert ANYBODY.identity.may_offer("deli")
    assert ANYBODY.identity.may_produce("anything")


@pytest.mark.parametrize(
    ("server", "token", "admin", "open_to_lambdas"),
    [
        ({"token": "t"}, ("token", "all"), (None, None), False),
        ({"token": "t", "admin_token": "a"}, ("token", "none"), ("admin_token", "all"), False),
        ({"token": "t", "admin_token": "t"}, ("token", "all"), (None, None), False),
        ({"admin_token": "a"}, (None, None), ("admin_token", "all"), True),
    ],
)
def test_the_two_tokens_are_identities(
    server: dict[str, str], token: tuple[str, str], admin: tuple[str, str], open_to_lambdas: bool
) -> None:
    made = identities(**server)
    assert not made.is_open
    assert made.anybody_offers is open_to_lambdas
    for text, (name, operate) in ((b"t", token), (b"a", admin)):
        found = made.with_token(text)
        assert named(found) == name
        assert found is None or found.identity.operate == operate
        assert found is None or found.identity.may_offer("deli") is (name == "token")


def test_an_identity_may_do_what_the_config_says() -> None:
    made = identities(
        {"name": "billing", "token": "b", "lambdas": ["orders-*", "invoices"], "produce": ["billing.*"]},
        {"name": "audit", "token": "a", "operate": "read"},
    )
    billing, audit = made.with_token(b"b"), made.with_token(b"a")
    assert billing is not None
    assert audit is not None
    of = billing.identity
    assert [name for name in ("orders-1", "orders", "invoices", "invoices2", "") if of.may_offer(name)] == [
        "orders-1",
        "invoices",
    ]
    assert [name for name in ("billing.", "billing.x", "billingx", "audit") if of.may_produce(name)] == [
        "billing.",
        "billing.x",
    ]
    assert of.operate == "none"
    assert audit.identity.operate == "read"
    assert not audit.identity.may_offer("invoices")
    assert not made.anybody_offers
    for wrong in (b"", b"B", b"bb", b"a b", b"\xff"):
        assert made.with_token(wrong) is None


def test_new_tokens_replace_the_old_ones() -> None:
    made = identities({"name": "billing", "token": "unused", "lambdas": "*"})
    assert made.set_tokens("billing", ["one", "two"]) == []
    one, two = made.with_token(b"one"), made.with_token(b"two")
    assert one is not None
    assert two is not None
    assert made.with_token(b"unused") is None
    made.set_tokens("billing", ["two", "three"])
    assert made.with_token(b"one") is None
    assert not made.still_valid(one)
    assert made.still_valid(two)
    assert named(made.with_token(b"three")) == "billing"
    assert made.still_valid(ANYBODY)
    assert made.still_valid(Caller(one.identity)), "a certificate is checked by TLS alone"


def test_a_token_of_two_identities_counts_for_the_first() -> None:
    made = identities(
        {"name": "first", "token": "a", "lambdas": "*"}, {"name": "second", "token": "b", "operate": "all"}
    )
    assert made.set_tokens("second", ["a", "b"]) == ["first"]
    assert named(made.with_token(b"a")) == "first"
    assert named(made.with_token(b"b")) == "second"
    of_first = made.with_token(b"a")
    assert of_first is not None
    made.set_tokens("first", ["c"])
    assert named(made.with_token(b"a")) == "second"
    assert not made.still_valid(of_first), "the token is somebody else's now"


def test_a_process_that_the_sidecar_starts_may_offer_for_its_own_lambda() -> None:
    made = identities(token="t")
    deli, scribe = made.for_command("deli"), made.for_command("scribe")
    assert deli is not None
    assert scribe not in (None, deli)
    found = made.with_token(deli.encode())
    assert found is not None
    assert found.identity == Identity("command:deli", ("deli",))
    assert not found.identity.may_offer("scribe")
    assert named(made.with_token(b"t")) == "token", "which goes on"


CERTIFICATE = {
    "x509_common_name": [b"billing.example"],
    "x509_subject_alternative_name": [b"other.example", b"spiffe://example/audit", b"mail.example", b"10.0.0.1"],
    "peer_dns": [b"Other.Example"],
    "peer_uri": [b"spiffe://example/audit"],
    "peer_email": [b"mail.example"],
    "peer_ip": [b"10.0.0.1"],
}


@pytest.mark.parametrize(
    ("name", "properties", "found"),
    [
        ("other.EXAMPLE", CERTIFICATE, True),
        ("spiffe://example/audit", CERTIFICATE, True),
        ("spiffe://example/Audit", CERTIFICATE, False),
        ("billing.example", CERTIFICATE, False),
        ("mail.example", CERTIFICATE, False),
        ("10.0.0.1", CERTIFICATE, False),
        ("billing.example", {"x509_common_name": [b"billing.example"]}, True),
        ("billing.example", {"x509_common_name": [b"\xff"]}, False),
        ("billing.example", {}, False),
    ],
)
def test_the_name_in_a_certificate(name: str, properties: dict[str, list[bytes]], found: bool) -> None:
    made = identities({"name": "one", "certificate": name, "lambdas": "*"})
    assert made.by_certificate
    assert named(made.with_certificate(properties)) == ("one" if found else None)
