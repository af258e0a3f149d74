"""What users may import is a promise: a change here is a change of the interface."""

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import sdk_python
import sdk_python.document_router
import sdk_python.serve
import sdk_python.testing
from sdk_python.document_router import document_router


def test_the_public_names() -> None:
    assert sdk_python.__all__ == [
        "partition_lambda",
        "IPlugin",
        "IPartitionLambdaFactory",
        "IPartitionLambda",
        "IBatchLambda",
        "IColumnsLambda",
        "IContext",
        "CloseReason",
        "Message",
        "MessageColumns",
        "NO_TIMESTAMP",
        "CREATE_TIME",
        "LOG_APPEND_TIME",
        "Record",
        "Columns",
        "Produced",
        "SdkError",
        "PluginError",
        "SettingsError",
        "RefusedError",
        "ProduceError",
        "NotCommittedError",
        "FailedAt",
    ]
    assert sdk_python.serve.__all__ == ["run", "main"]
    assert sdk_python.testing.__all__ == ["FakeSidecar", "LambdaError", "Sent"]
    assert sdk_python.document_router.__all__ == [
        "plugin",
        "document_router",
        "DocumentRouter",
        "DocumentMessage",
        "IDocumentContext",
        "DocumentKey",
        "CorruptDocument",
    ]
    for module in (sdk_python, sdk_python.serve, sdk_python.testing, sdk_python.document_router):
        for name in module.__all__:
            assert hasattr(module, name)


def test_the_public_signatures() -> None:
    def names(function: Any) -> list[str]:
        return list(inspect.signature(function).parameters)

    assert names(sdk_python.IContext.checkpoint) == ["self", "offset", "state"]
    assert names(sdk_python.IContext.committed) == ["self", "offset"]
    assert names(sdk_python.IContext.progress) == ["self", "text"]
    assert names(sdk_python.IContext.completed_beyond) == ["self", "count", "size"]
    assert names(sdk_python.IContext.skipped) == ["self", "count", "skipping", "skipping_count"]
    assert names(sdk_python.IContext.error) == ["self", "error", "restart", "offset"]
    assert names(sdk_python.IContext.report) == ["self", "error", "offset"]
    assert names(sdk_python.IContext.pause) == ["self", "reason", "retry_after", "offset"]
    assert names(sdk_python.IContext.resume) == ["self"]
    assert names(sdk_python.IContext.produce) == [
        *("self", "topic", "value", "key", "headers", "partition", "source"),
    ]
    assert names(sdk_python.IContext.produce_many) == ["self", "topic", "records", "source"]
    assert names(sdk_python.testing.FakeSidecar) == [
        *("plugin", "settings", "topic", "partition", "start_offset", "drain_timeout"),
        *("state", "lane", "lanes", "guarantee"),
    ]
    assert names(sdk_python.serve.run) == [
        *("name", "plugin", "address", "token", "tls", "tls_ca", "tls_cert", "tls_key", "tls_name"),
        *("settings", "max_partitions", "drain_timeout", "metrics"),
    ]
    assert sdk_python.Record._fields == ("value", "key", "headers", "partition")
    assert sdk_python.Columns._fields == ("values", "keys", "headers", "partitions")
    assert sdk_python.Produced._fields == ("topic", "partition", "offset")
    assert [name for name in vars(sdk_python.IContext) if not name.startswith("_")] == [
        "topic",
        "partition",
        "lane",
        "lanes",
        "lease",
        "start_offset",
        "attempt",
        "state",
        "guarantee",
        "checkpoint",
        "committed",
        "progress",
        "completed_beyond",
        "skipped",
        "error",
        "report",
        "produce",
        "produce_many",
        "pause",
        "resume",
    ]
    assert sdk_python.Message._fields == (
        "topic",
        "partition",
        "offset",
        "timestamp",
        "timestamp_type",
        "key",
        "value",
        "headers",
    )
    assert [reason.value for reason in sdk_python.CloseReason] == ["stopped", "rebalanced", "error", "idle"]


def test_importing_needs_no_yaml_no_opentelemetry_and_nothing_of_the_sidecar() -> None:
    program = (
        "import sys, sdk_python, sdk_python.serve, sdk_python.testing, sdk_python.document_router\n"
        "others = 'yaml', 'opentelemetry', 'sidecar', 'confluent_kafka', 'pydantic'\n"
        "print(*(name for name in sys.modules if name.split('.')[0] in others))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


PARTITION_CONTEXT = {name for name in vars(sdk_python.IContext) if not name.startswith("_")}
DOCUMENT_CONTEXT = PARTITION_CONTEXT | {"tenant_id", "document_id", "update_activity_time"}


@pytest.mark.parametrize(
    ("wrap", "names"), [(lambda plugin: plugin, PARTITION_CONTEXT), (document_router, DOCUMENT_CONTEXT)]
)
async def test_an_author_sees_of_a_context_only_what_the_interface_has(
    wrap: Callable[[Any], Any], names: set[str]
) -> None:
    seen: list[str] = []

    @sdk_python.partition_lambda
    def handle(_: sdk_python.Message, context: sdk_python.IContext) -> None:
        seen.extend(name for name in dir(context) if not name.startswith("_"))

    async with sdk_python.testing.FakeSidecar(wrap(handle)) as sidecar:
        await sidecar.feed('{"tenantId": "t", "documentId": "d"}')
    assert seen == sorted(names)
