"""The router as what it is: a plugin, over the SDK's own dispatching."""

import asyncio
import json
import logging
import re
import sys
from collections.abc import Mapping
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import pytest

from sdk_python import CloseReason, IContext, Message, PluginError, SettingsError, partition_lambda
from sdk_python._loading import load_plugin, version_of
from sdk_python.document_router import DocumentKey, DocumentMessage, DocumentRouter, IDocumentContext, document_router
from sdk_python.document_router._keys import by_boxcar, by_record_key, ids_of, key_function, name_of
from sdk_python.document_router._options import Options, seconds
from sdk_python.testing import FakeSidecar
from tests.recorded import documents

from .test_pause import Plugin
from .world import Clock, Inner, boxcar, message, settle

MODULE = """
from sdk_python import partition_lambda
from sdk_python.document_router import DocumentKey

seen = []

@partition_lambda
def handle(message, context):
    seen.append((context.document_id, message.offset))
    context.checkpoint(message.offset)

def key_of(message):
    return message.headers[0][0] if message.headers else None
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with a document lambda."""
    (tmp_path / "words_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "words_of_a_test", raising=False)
    return "words_of_a_test"


async def _served(plugin: Any, settings: Mapping[str, Any]) -> list[tuple[str, int]]:
    async with FakeSidecar(plugin, settings=settings) as sidecar:
        await sidecar.feed(boxcar("A"), boxcar("B"), "not json", boxcar("A"))
        await sidecar.checkpointed(3)
        assert sidecar.errors == []
        assert sidecar.completed_beyond == (0, 0)
    return [*sys.modules["words_of_a_test"].seen]


async def test_the_setting_names_the_document_lambda(module: str) -> None:
    plugin = load_plugin("sdk_python.document_router")
    seen = await _served(plugin, {"document_lambda": module})
    assert sorted(seen) == [("A", 0), ("A", 3), ("B", 1)]


async def test_the_environment_names_the_document_lambda(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("documentLambda", module)
    assert len(await _served(load_plugin("sdk_python.document_router"), {})) == 3


async def test_a_file_may_be_the_document_lambda(module: str, tmp_path: Path) -> None:
    plugin = load_plugin("sdk_python.document_router")
    assert len(await _served(plugin, {"document_lambda": str(tmp_path / f"{module}.py")})) == 3


async def test_python_code_may_name_the_document_lambda(module: str) -> None:
    assert len(await _served(document_router(module), {})) == 3


async def test_python_code_may_pass_a_function_or_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("documentLambda", "no.such.module")  # what the code names comes before it
    seen: list[str] = []

    def function(got: Message, context: IContext) -> None:
        seen.append(got.value.decode() if got.value else "")
        context.checkpoint(got.offset)

    for given in (function, partition_lambda(function)):
        async with FakeSidecar(document_router(given, key="record")) as sidecar:
            await sidecar.feed("x", key=b"k")
            await sidecar.checkpointed(0)
    assert seen == ["x", "x"]
    with pytest.raises(PluginError, match="no module"):
        document_router("no.such.module")


def _own(**settings: Any) -> dict[str, Any]:
    return {"document_lambda": "words_of_a_test", "document_router": settings}


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({}, PluginError, "no document lambda: set `document_lambda`"),
        ({"document_lambda": "no.such"}, PluginError, "no module"),
        ({"document_lambda": "sdk_python.document_router"}, PluginError, "the document router itself"),
        (_own(key="nothing"), PluginError, "expected boxcar, record or MODULE:FUNCTION"),
        (_own(key="words_of_a_test:nothing"), PluginError, "has no function 'nothing'"),
        (_own(key="no.such:key_of"), PluginError, "there is no module 'no.such'"),
        (_own(activity_timeout="soon"), SettingsError, "document_router.activity_timeout: expected a time"),
        (_own(drain_timeout=0), SettingsError, "drain_timeout: expected a time"),
        (_own(timeout=1), SettingsError, "timeout: there is no such setting; there are key, activity_timeout"),
        ({"document_lambda": "words_of_a_test", "document_router": "x"}, SettingsError, "expected a mapping"),
    ],
)
async def test_mistakes_in_the_settings_are_named(
    settings: dict[str, Any], error: type[Exception], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("documentLambda", raising=False)
    with pytest.raises(error, match=text):
        await load_plugin("sdk_python.document_router").create(settings)


def test_times_are_seconds_or_texts_with_a_unit() -> None:
    assert [seconds("x", value) for value in (5, 0.5, "500ms", "60s", "10m", "1h", "2.5")] == [
        *(5, 0.5, 0.5, 60, 600, 3600, 2.5)
    ]
    for wrong in (True, None, "1d", "-1s", float("nan"), float("inf"), [1]):
        with pytest.raises(SettingsError, match="x: expected"):
            seconds("x", wrong)
    assert Options().overridden({"activity_timeout": "1m", "other": 1}) == Options(activity_timeout=60.0)


async def test_a_key_function_is_found_by_module_or_file(module: str, tmp_path: Path) -> None:
    with_header = message(0, b"v")._replace(headers=(("h", None),))
    for name in (f"{module}:key_of", f"{tmp_path / module}.py:key_of"):
        function = key_function(name)
        assert function(DocumentMessage(*with_header)) == "h"
        assert function(DocumentMessage(*message(0, b"v"))) is None
    settings = {"document_lambda": module, "document_router": {"key": f"{module}:key_of"}, "key": "the lambda's own"}
    async with FakeSidecar(load_plugin("sdk_python.document_router"), settings=settings) as sidecar:
        await sidecar.feed(with_header, with_header._replace(offset=1))
        await sidecar.checkpointed(1)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (boxcar("A"), DocumentKey("t", "A")),
        ('{"tenantId": "t", "documentId": "A", "x": 1}', DocumentKey("t", "A")),
        (' \r\n{"tenantId": "t", "documentId": "A"}\t\n', DocumentKey("t", "A")),
        ('\ufeff{"tenantId": "t", "documentId": "A"}', DocumentKey("t", "A")),
        ('{"tenantId": "t", "documentId": "A"} {}', None),
        ('{"type": "boxcar", "contents": []}', None),
        ('{"type": "boxcar", "tenantId": "t", "documentId": null}', None),
        ('{"type": "boxcar", "tenantId": "t", "documentId": ""}', None),
        ('{"type": "boxcar", "tenantId": 7, "documentId": "A"}', None),
        *((text, None) for text in ("not json", "[]", "7", "null", '"x"', "", b"\xff\xfe", None, "[" * 100_000)),
        ('{"tenantId": "t", "documentId": 1' + "0" * 5000 + "}", None),
    ],
)
def test_the_boxcar_key(value: str | bytes | None, key: DocumentKey | None) -> None:
    assert by_boxcar(DocumentMessage(*message(0, value))) == key


def test_a_json_object_that_is_no_boxcar_is_wrapped() -> None:
    wrapped = DocumentMessage(*message(0, '{"tenantId": "t", "documentId": "A", "x": 1}')).boxcar
    assert wrapped == {
        "type": "boxcar",
        "tenantId": "t",
        "documentId": "A",
        "contents": [{"tenantId": "t", "documentId": "A", "x": 1}],
    }


def test_record_keys_ids_and_names() -> None:
    assert by_record_key(DocumentMessage(*message(0, None, key=b"\xffk"))) == b"\xffk"
    assert by_record_key(DocumentMessage(*message(0, None, key=b""))) is None
    assert by_record_key(DocumentMessage(*message(0, None))) is None
    assert ids_of(("a/b", "c")) != ids_of(("a", "b/c"))
    assert ids_of(b"k") == ("", "k")
    assert name_of(7) == "7"
    assert name_of(DocumentKey("t", "d")) == "t/d"


async def test_a_key_function_that_raises_is_critical_for_its_message() -> None:
    def key(got: DocumentMessage) -> str:
        return str(got.headers[0][0])

    async with FakeSidecar(document_router(Plugin(), key=key)) as sidecar:
        await sidecar.feed("x")
        assert [(error.action, error.offset) for error in sidecar.errors] == [("critical", 0)]


async def test_documents_are_closed_restarted_and_disposed(caplog: pytest.LogCaptureFixture) -> None:
    plugin = Plugin()

    async def handle(inner: Inner, got: Message) -> None:
        await asyncio.sleep(0)
        if got.offset != 2:
            inner.context.checkpoint(got.offset)

    def closing(inner: Inner, reason: CloseReason) -> None:
        if reason is CloseReason.REBALANCED and inner.got[-1].offset == 2:
            inner.context.checkpoint(2)

    plugin.factory.handle, plugin.factory.closing = handle, closing
    with caplog.at_level(logging.ERROR):
        async with FakeSidecar(document_router(plugin)) as sidecar:
            await sidecar.feed(boxcar("A"), boxcar("B"), boxcar("A"), boxcar("B"))
            await sidecar.checkpointed(1)
            assert sidecar.completed_beyond == (1, len(boxcar("B")))
            await sidecar.restart()
            await settle()
            assert plugin.out.count("A.handler(2)") == 2
            assert plugin.out.count("B.handler(3)") == 2  # beyond the checkpoint: it comes again
            await sidecar.rebalance()
            assert sidecar.checkpoint == 3
        assert plugin.out.count("A.close(error)") == 1
        assert plugin.out.count("A.close(rebalanced)") == 1
        assert plugin.out[-1] == "dispose"
    assert caplog.text == ""


async def test_a_corrupt_document_and_its_report() -> None:
    plugin = Plugin()

    def handle(inner: Inner, got: Message) -> None:
        if inner.name == "A":
            raise ValueError("boom")
        inner.context.checkpoint(got.offset)

    plugin.factory.handle = handle
    async with FakeSidecar(document_router(plugin, corrupt_documents="skip")) as sidecar:
        await sidecar.feed(boxcar("A"), boxcar("B"), boxcar("A"))
        await sidecar.checkpointed(2)
        await settle()
        assert (sidecar.skipped, sidecar.skipping) == (2, ("t/A",))
        (error,) = sidecar.errors
        assert (error.action, error.offset, error.message, error.type) == ("report", 0, "boom", "ValueError")
        assert "document t/A" in error.stack
        assert sidecar.running
        await sidecar.restart()
        assert (sidecar.skipped, sidecar.skipping) == (2, ()), "the count outlives the lease"
        await sidecar.feed(boxcar("A"), "no boxcar")
        await sidecar.checkpointed(4)
        assert (sidecar.skipped, sidecar.skipping) == (4, ("t/A",))


async def test_a_corrupt_document_fails_its_partition_by_default() -> None:
    plugin = Plugin()

    def handle(inner: Inner, got: Message) -> None:
        if inner.name == "A":
            raise ValueError("boom")
        inner.context.checkpoint(got.offset)

    plugin.factory.handle = handle
    async with FakeSidecar(document_router(plugin)) as sidecar:
        await sidecar.feed(boxcar("B"), boxcar("A"), boxcar("B"), boxcar("A"))
        await sidecar.ended()
        (error,) = sidecar.errors
        assert (error.action, error.offset, error.message, error.type) == ("critical", 1, "boom", "ValueError")
        assert "document t/A" in error.stack
        assert (sidecar.checkpoint, sidecar.skipped) == (0, 0)
        assert not sidecar.running


@pytest.mark.parametrize("value", ["fail", "skip"])
async def test_the_setting_comes_before_the_argument(value: str) -> None:
    plugin = Plugin()

    def handle(_: Inner, __: Message) -> None:
        raise ValueError("boom")

    plugin.factory.handle = handle
    other: Any = "skip" if value == "fail" else "fail"
    settings = {"document_router": {"corrupt_documents": value}}
    async with FakeSidecar(document_router(plugin, corrupt_documents=other), settings=settings) as sidecar:
        await sidecar.feed(boxcar("A"))
        assert (sidecar.skipped, sidecar.running) == ((1, True) if value == "skip" else (0, False))


@pytest.mark.parametrize("value", ["ignore", "Skip", "", True, None, 1, ["skip"]])
async def test_corrupt_documents_takes_only_its_two_words(value: Any) -> None:
    with pytest.raises(SettingsError, match=r"^corrupt_documents: expected fail or skip, got "):
        document_router(Plugin(), corrupt_documents=value)
    settings = {"document_router": {"corrupt_documents": value}}
    with pytest.raises(SettingsError, match=r"^document_router\.corrupt_documents: expected fail or skip, got "):
        await document_router(Plugin()).create(settings)


async def test_the_settings_say_when_a_document_is_idle() -> None:
    plugin, clock = Plugin(), Clock()
    plugin.factory.handle = lambda inner, got: inner.context.checkpoint(got.offset)
    router = DocumentRouter(plugin, by_boxcar, Options(), clock)
    settings = {"document_router": {"activity_timeout": "30s", "activity_check_interval": 0.01}}
    async with FakeSidecar(router, settings=settings) as sidecar:
        await sidecar.feed(boxcar("A"))
        await sidecar.checkpointed(0)
        await asyncio.sleep(0.03)
        assert plugin.out[-1] == "A.handler(0)"
        clock.now += 31
        async with asyncio.timeout(60):
            while plugin.out[-1] != "A.close(idle)":  # noqa: ASYNC110  a list
                await asyncio.sleep(0.005)


async def test_the_example_of_the_documentation(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "document_router.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    module: dict[str, Any] = {}
    exec(example, module)  # noqa: S102, RUF100
    async with FakeSidecar(module["plugin"]) as sidecar:
        await sidecar.feed(boxcar("A"))
        await sidecar.checkpointed(0)
    assert "'documentId': 'A'" in capsys.readouterr().out


async def test_recorded_documents_side_by_side() -> None:
    """Three recorded documents in one partition, a record of each in turn: each arrives whole and in its order."""
    streams = []
    for path in sorted(documents().glob("*.rawdeltas.jsonl")):
        with path.open(encoding="utf-8") as file:
            streams.append([json.loads(line) for line in islice(file, 200)])
    plugin = Plugin()
    plugin.factory.handle = lambda inner, got: inner.context.checkpoint(got.offset)
    records = [record for turn in zip_longest(*streams) for record in turn if record is not None]
    async with FakeSidecar(document_router(plugin)) as sidecar:
        await sidecar.feed(*(json.dumps(record["value"]) for record in records))
        await sidecar.checkpointed(len(records) - 1)
        assert sidecar.completed_beyond == (0, 0)
    assert len(plugin.factory.lambdas) == len(streams) == 3
    for stream in streams:
        got = [json.loads(message.value or b"") for message in plugin.factory.lambdas[stream[0]["key"]].got]
        assert got == [record["value"] for record in stream]


def test_the_version_is_the_document_lambdas() -> None:
    plugin = Plugin()
    plugin.version = "7"  # type: ignore[attr-defined]
    assert version_of(document_router(plugin), {}) == "7"
    assert version_of(document_router(), {}) == ""


def _typed(context: IDocumentContext) -> IContext:
    return context  # a document's context is a context
