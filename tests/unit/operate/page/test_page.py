"""The page's API over a real socket: who may do what, what is refused, and what an order becomes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from sdk_python.protocol import admin_pb2 as pb
from sidecar.config import Endpoint
from sidecar.mail.boxes import GoneError
from sidecar.operate.page import access, feed, page, requests
from sidecar.partitions.vocabulary import OrderRefused, RefusalKind, State
from tests.unit.snapshots import lambda_status, partition_status, sidecar_status

from .lab import HALTED, JSON, WITH_TOKEN, Lab, config, running, status

WHERE: dict[str, Any] = {"lambda_name": "deli", "topic": "raw", "partition": 3}
NEED_THE_TOKEN = [
    ("GET", "/api/access"),
    ("POST", "/api/pause"),
    ("POST", "/api/resume"),
    ("POST", "/api/seek"),
    ("GET", "/api/dead-letters"),
    ("GET", "/api/dead-letters/letter?topic=t&which=00a74bff"),
    ("POST", "/api/dead-letters/replay"),
    ("POST", "/api/dead-letters/stop"),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "WRONG_TOKEN_DELAY_S", 0.0)


# --- the files ------------------------------------------------------------------------------------------------------


async def test_the_page_needs_no_other_server_and_cannot_be_framed() -> None:
    async with running() as lab:
        code, headers, body = await lab.ask("GET", "/")
        assert (code, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Set-Cookie" not in headers
        assert "//" not in body.replace("<!doctype html>", ""), "no address of another server"
        for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
            code, headers, _ = await lab.ask("GET", f"/{name}")
            assert (code, headers["Content-Type"].partition(";")[0]) == (200, kind)


@pytest.mark.parametrize(
    "path", ["/..%2fpage.py", "/static/page.js", "/page.py", "/%2e%2e/__init__.py", "/api", "/api/x"]
)
async def test_nothing_else_is_served(path: str) -> None:
    async with running() as lab:
        code, _, body = await lab.ask("GET", path)
    assert (code, body) == (404, "try /, /metrics, /healthz or /readyz\n")


# --- what everybody may read ----------------------------------------------------------------------------------------


async def test_the_state_needs_no_token() -> None:
    async with running() as lab:
        lab.orders.state = status(pb.Partition(topic="raw", state=HALTED, reason="mongodb://me:secret@host"))
        lab.findings = [{"cause": "halted"}]
        code, said = await lab.get("/api/status")
    assert code == 200
    [one] = said["status"]["lambdas"]
    assert one["partitions"][0]["reason"] == "mongodb://me:****@host"
    assert said["findings"] == [{"cause": "halted"}]
    assert said["actions"] == {"possible": True}


async def test_without_an_admin_token_the_page_says_how_to_act() -> None:
    async with running(config(None)) as lab:
        _, said = await lab.get("/api/status")
        assert said["actions"]["possible"] is False
        assert "server.admin_token" in said["actions"]["how"]
        for method, path in NEED_THE_TOKEN:
            code, _, body = await lab.ask(method, path, {**JSON, **WITH_TOKEN}, "{}" if method == "POST" else None)
            assert (code, json.loads(body)) == (403, {"error": access.HOW_TO_ACT})


async def test_events_begin_with_the_state() -> None:
    async with running() as lab:
        reader, writer = await asyncio.open_connection(*lab.place)
        writer.write(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        assert b"content-type: text/event-stream" in head.lower()
        assert b"event: status\n" in await reader.readuntil(b"event: status\n")
        line = await reader.readuntil(b"\n")
        assert json.loads(line.removeprefix(b"data: "))["status"]["version"] == "1.2.3"
        writer.close()


async def test_pages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_WATCHERS", 0)
    async with running() as lab:
        code, said = await lab.get("/api/events")
    assert code == 503
    assert "close one" in said["error"]


async def test_a_silent_sidecar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "ASK_TIMEOUT_S", 0.02)
    async with running() as lab:
        lab.orders.answers.clear()
        assert await lab.get("/api/status") == (503, {"error": "a consumer thread did not answer within 0.02 s"})


# --- who may act ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), NEED_THE_TOKEN)
@pytest.mark.parametrize(
    "given", [None, "Bearer wrong", "the-operators-token", "Bearer ", "Bearer the-operators-tokenx"]
)
async def test_a_missing_or_wrong_token(method: str, path: str, given: str | None) -> None:
    headers = JSON if given is None else {**JSON, "Authorization": given}
    async with running() as lab:
        code, answered, body = await lab.ask(method, path, headers, "{}" if method == "POST" else None)
        assert lab.orders.asked == []
    assert (code, answered["WWW-Authenticate"]) == (401, "Bearer")
    assert "server.admin_token" in json.loads(body)["error"]


async def test_a_token_that_is_no_ascii() -> None:
    async with running() as lab:
        reader, writer = await asyncio.open_connection(*lab.place)
        writer.write(b"GET /api/access HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
        assert b" 401 " in await reader.readline()
        writer.close()


async def test_identities_of_the_config_may_act_too() -> None:
    listed = [
        {"name": "ann", "token": "ann's", "operate": "all"},
        {"name": "bob", "token": "bob's", "operate": "read"},
        {"name": "deli", "token": "deli's", "lambdas": "deli"},
    ]
    async with running(config(None, identities=listed, token="lambdas")) as lab:
        for token, expected in (("ann's", 200), ("bob's", 403), ("deli's", 401), ("lambdas", 401)):
            code, said = await lab.get("/api/access", {"Authorization": f"Bearer {token}"})
            assert code == expected, token
            assert code != 403 or "'bob' may only read" in said["error"]


async def test_the_lambdas_token_alone_lets_nobody_act() -> None:
    """Commands accept it where there is no admin token. A browser is no place for it."""
    async with running(config(None, token="lambdas")) as lab:
        assert (await lab.get("/api/access", {"Authorization": "Bearer lambdas"}))[0] == 403


async def test_the_right_token() -> None:
    async with running() as lab:
        assert await lab.get("/api/access", WITH_TOKEN) == (200, {"allowed": True})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "OURS"}, 200),
        ({}, 200),
    ],
)
async def test_another_sites_page_may_not_act_though_it_knew_the_token(
    headers: dict[str, str], expected: int
) -> None:
    async with running() as lab:
        sent = {name: lab.origin if value == "OURS" else value for name, value in headers.items()}
        code, _, _ = await lab.ask("POST", "/api/pause", {**JSON, **WITH_TOKEN, **sent}, json.dumps(WHERE))
        assert len(lab.orders.asked) == (1 if expected == 200 else 0)
    assert code == expected


async def test_a_name_that_was_rebound_to_us_is_refused() -> None:
    async with running() as lab:
        for path in ("/", "/api/status", "/api/access"):
            code, _, _ = await lab.ask("GET", path, {"Host": "evil.example", **WITH_TOKEN})
            assert code == 421


async def test_behind_a_name_of_ones_own_the_page_acts_too() -> None:
    async with running(endpoint=Endpoint("0.0.0.0", 0)) as lab:
        lab.server.address = lab.server.address.replace("0.0.0.0", "127.0.0.1")
        ours = {"Host": "sidecar.example", "Origin": "https://sidecar.example"}
        code, _, _ = await lab.ask("POST", "/api/pause", {**JSON, **WITH_TOKEN, **ours}, json.dumps(WHERE))
    assert code == 200


async def test_a_form_cannot_act() -> None:
    async with running() as lab:
        for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x", ""):
            headers = {**WITH_TOKEN, "Content-Type": kind}
            code, _, _ = await lab.ask("POST", "/api/pause", headers, json.dumps(WHERE))
            assert code == 415
        assert lab.orders.asked == []


@pytest.mark.parametrize("path", ["/api/pause", "/api/resume", "/api/seek", "/api/dead-letters/replay"])
async def test_looking_never_acts(path: str) -> None:
    async with running() as lab:
        code, _, _ = await lab.ask("GET", path, WITH_TOKEN)
    assert code == 405


# --- orders ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "document", "asked", "answered"),
    [
        ("pause", {"reason": "a migration"}, pb.PauseRequest(**WHERE, reason="a migration"), {"from_offset": 7}),
        ("resume", {}, pb.ResumeRequest(**WHERE), {"from_offset": 7}),
        ("resume", {"skip": True}, pb.ResumeRequest(**WHERE, skip=True), {"from_offset": 7}),
        ("seek", {"offset": "5"}, pb.SeekRequest(**WHERE, offset=5), {"from_offset": 7, "was_at": 12}),
        ("seek", {"timestamp_ms": 0}, pb.SeekRequest(**WHERE, timestamp_ms=0), {"from_offset": 7, "was_at": 12}),
        (
            "seek",
            {"edge": "EDGE_LATEST"},
            pb.SeekRequest(**WHERE, edge=pb.EDGE_LATEST),
            {"from_offset": 7, "was_at": 12},
        ),
    ],
)
async def test_an_order_becomes_a_request(path: str, document: Any, asked: Any, answered: Any) -> None:
    async with running() as lab:
        code, said = await lab.post(f"/api/{path}", {**WHERE, **document})
        assert lab.orders.asked == [asked]
    said.pop("state", None)
    assert (code, said) == (200, answered)


@pytest.mark.parametrize(
    ("kind", "expected"), [("argument", 400), ("unknown", 404), ("state", 409), ("range", 422), ("kafka", 503)]
)
async def test_an_order_that_the_sidecar_refuses(kind: RefusalKind, expected: int) -> None:
    async with running() as lab:
        lab.orders.raises = OrderRefused("because \x1b[2J", kind)
        assert await lab.post("/api/resume", WHERE) == (expected, {"error": "because \\x1b[2J"})


async def test_an_order_at_the_end_of_the_sidecar() -> None:
    async with running() as lab:
        lab.orders.raises = GoneError("the sidecar is stopping")
        assert await lab.post("/api/resume", WHERE) == (503, {"error": "the sidecar is stopping"})


async def test_an_order_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: pb.PauseRequest) -> pb.PauseResponse:
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(page, "ORDER_TIMEOUT_S", 0.01)
    async with running() as lab:
        monkeypatch.setattr(lab.orders, "pause", never)
        code, said = await lab.post("/api/pause", WHERE)
    assert code == 504
    assert "no answer yet" in said["error"]


@pytest.mark.parametrize(
    "body", ["", "{", "[]", "7", '{"topic": 5}', '{"nonsense": 1}', '{"partition": "x"}', "[" * 9999]
)
async def test_a_body_that_is_no_order(body: str) -> None:
    async with running() as lab:
        code, _, _ = await lab.ask("POST", "/api/pause", {**JSON, **WITH_TOKEN}, body)
        assert lab.orders.asked == []
    assert code == 400


async def test_a_body_that_is_too_long() -> None:
    async with running() as lab:
        body = json.dumps({**WHERE, "reason": "x" * requests.MAX_BODY_BYTES})
        code, _, _ = await lab.ask("POST", "/api/pause", {**JSON, **WITH_TOKEN}, body)
    assert code == 413


async def test_only_the_offset_that_a_person_saw_is_left_out() -> None:
    """Between the look and the click the partition may have come to fail somewhere else."""
    async with running() as lab:
        failing = partition_status(3, state=State.HALTED, failing_offset=41)
        lab.orders.snapshot = sidecar_status({"deli": lambda_status(partitions=[failing])})
        skip = {**WHERE, "skip": True}
        code, said = await lab.post("/api/resume", {**skip, "failing_offset": 40})
        assert (code, said["error"]) == (409, "it fails at offset 41 now, and not at 40: look again")
        assert lab.orders.asked == []
        assert (await lab.post("/api/resume", {**skip, "failing_offset": 41}))[0] == 200


async def test_stopping_ends_the_events_at_once() -> None:
    lab = Lab(config(), Endpoint("127.0.0.1", 0))
    await lab.start()
    reader, writer = await asyncio.open_connection(*lab.place)
    writer.write(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"event: status\n")
    async with asyncio.timeout(30):
        await lab.stop()
        assert b"\r\n0\r\n\r\n" in b"\r\n" + await reader.read(), "as a whole, and not cut off"
    writer.close()
