"""The wheels in environments that have nothing else, on the oldest and the newest Python, without a package index."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.integration.harness import Program, wait_for
from tests.packaging.conftest import Dist, run
from tests.servers import pythons, wheels
from tests.servers.process import free_ports
from tests.servers.wheels import ROOT

pytestmark = pytest.mark.timeout(900)  # whichever test is first builds, fetches what is pinned, and installs

VERSIONS = ("3.11", "3.13")

WORDS = """
from sdk_python import IContext, Message, partition_lambda

@partition_lambda
def handle(message: Message, context: IContext) -> None:
    print("got", (message.value or b"").decode(), flush=True)
    context.checkpoint(message.offset)
"""

CONFIG = """
kafka: {{bootstrap.servers: "embedded:{port}"}}
lambdas: {{words: {{topic: sentences, group: words, plugin: words.py}}}}
server: {{listen: '{listen}'}}
"""

PRODUCE = """
import sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": sys.argv[1]})
producer.produce("sentences", b"the fox")
assert producer.flush(30.0) == 0
"""

IMPORT_ALL = """
import importlib, pkgutil, sdk_python
for module in pkgutil.walk_packages(sdk_python.__path__, "sdk_python."):
    if module.name != "sdk_python._spans":  # it is loaded only where OpenTelemetry is in use
        importlib.import_module(module.name)
"""


NONES_LOST = """
import importlib.machinery, importlib.util, os, sys
from confluent_kafka import Consumer

loader = importlib.machinery.ExtensionFileLoader("_native", sys.argv[1])
native = importlib.util.module_from_spec(importlib.util.spec_from_loader("_native", loader))
loader.exec_module(native)
properties = {"bootstrap.servers": "127.0.0.1:1", "group.id": "nobody", "log_level": 0}
consumer = Consumer({**properties, "plugin.library.paths": sys.argv[1]})
source = native.Source(10)
outlet = native.Outlet({"bootstrap.servers": "127.0.0.1:1", "log_level": "0"}, os.open(os.devnull, os.O_WRONLY))
before = sys.getrefcount(None)
for _ in range(1000):
    source.wait(0.0)
    source.wake()
    outlet.serve()
    outlet.purge()
print(before - sys.getrefcount(None))
source.close()
outlet.close()
"""


NONES_LOST_IN_MESSAGES = """
import importlib.machinery, importlib.util, sys
from sdk_python import Message
from sdk_python.protocol import lambda_pb2 as pb

loader = importlib.machinery.ExtensionFileLoader("_decoder", sys.argv[1])
decoder = importlib.util.module_from_spec(importlib.util.spec_from_loader("_decoder", loader))
loader.exec_module(decoder)
values = dict(values=[b"", b"a"], null_values=[0], timestamp_type=1, timestamps=[-1, 5])
headers = dict(header_counts=[1, 0], header_names=[b"h"], header_values=[b""], null_header_values=[0])
frame = pb.HostFrame(batch=pb.Batch(**values, **headers)).SerializeToString()
before = sys.getrefcount(None)
for _ in range(1000):
    assert decoder.decode(b"") is None
    batch = decoder.decode(frame)
    batch.messages(Message, "t", 0, 0, 2)
    batch.columns(0, 2)
del batch
print(before - sys.getrefcount(None))
"""


NONES_LOST_IN_OUTCOMES = """
import asyncio, gc, importlib.machinery, importlib.util, sys

loader = importlib.machinery.ExtensionFileLoader("_quick", sys.argv[1])
sys.modules["sdk_python._quick"] = importlib.util.module_from_spec(importlib.util.spec_from_loader("_quick", loader))
loader.exec_module(sys.modules["sdk_python._quick"])
from sdk_python._counters import Counters
from sdk_python._limits import Limits
from sdk_python._outcomes import Outcomes
from sdk_python._produce import Producing, producing
from sdk_python.protocol import lambda_pb2 as pb

async def call(request):
    count = len(request.values)
    return pb.ProduceResponse(outcomes=[1] * count, partitions=[0] * count, offsets=range(count))

async def main():
    made = Producing("L", call, print, Outcomes(print, print), Limits(), Counters())
    for number in range(1010):
        if number == 10:  # what is made once is there
            gc.collect()
            before = sys.getrefcount(None)
        outcome = made.put("t", b"v", None, source=None)
        outcome.add_done_callback(lambda one: one.exception())
        outcome.done(), outcome.cancelled()
        await made.drained()
    gc.collect()
    print(before - sys.getrefcount(None))

assert producing.__file__ == sys.argv[1]
asyncio.run(main())
"""


class Environments(NamedTuple):
    """On one version of Python: what a lambda's image has, and what the sidecar's has. The Python of each."""

    sdk: Path
    sidecar: Path


@pytest.fixture(scope="module", params=VERSIONS)
def installed(request: pytest.FixtureRequest, dist: Dist, tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """Both environments; pip finds what was built, and what is pinned, in folders."""
    version = str(request.param)
    base, fetched = pythons.find(version), wheels.fetch(version)
    folder = tmp_path_factory.mktemp(f"python{version}")
    offered = ["--no-index", "--only-binary", ":all:", "--find-links", dist.sdk.wheel.parent, "--find-links", fetched]
    made = []
    for name, requirement in (("sdk", "kafka-sidecar-sdk"), ("sidecar", "kafka-sidecar[embedded]")):
        run([base, "-m", "venv", "--without-pip", folder / name], folder)
        made.append(folder / name / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--python", made[-1], "--quiet", "--disable-pip-version-check"]
        run([*pip, "install", *offered, requirement], folder)
    return Environments(*made)


def distributions(python: Path, cwd: Path) -> dict[str, str]:
    """The names and versions of what is installed."""
    code = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    found: dict[str, str] = json.loads(run([python, "-c", code], cwd))
    return {name.lower().replace("_", "-"): version for name, version in found.items()}


def test_a_lambdas_environment_has_no_client_of_kafka(installed: Environments, tmp_path: Path) -> None:
    assert distributions(installed.sdk, tmp_path).keys() == {
        "kafka-sidecar-sdk",
        "grpcio",
        "protobuf",
        "typing-extensions",  # grpcio's
    }
    run([installed.sdk, "-W", "error", "-c", IMPORT_ALL], tmp_path)


def test_both_know_their_version(installed: Environments, tmp_path: Path, dist: Dist) -> None:
    version = str(dist.sdk.metadata["Version"])
    there = distributions(installed.sidecar, tmp_path)
    assert (there["kafka-sidecar"], there["kafka-sidecar-sdk"]) == (version, version)
    shown = run([installed.sidecar.parent / "kafka-sidecar", "--version"], tmp_path)
    assert shown.strip().endswith(f"version {version}")
    code = "from sdk_python._client import _version; print(_version())"
    assert run([installed.sdk, "-c", code], tmp_path).strip() == version


def test_the_extensions_that_one_python_compiled_work_in_the_other(installed: Environments, tmp_path: Path) -> None:
    modules = ("sidecar.records._native", "sdk_python._decoder", "sdk_python._quick")
    for python, module in zip((installed.sidecar, installed.sdk, installed.sdk), modules, strict=True):
        assert run([python, "-c", f"import {module} as made; print(made.__file__)"], tmp_path).strip()


def lost(python: Path, headers: str, name: str, sources: Path, code: str, folder: Path) -> int:
    """How many references to None some thousand calls lose, of an extension that was compiled with these headers."""
    where = "import sysconfig; print(sysconfig.get_paths()['include'])"
    include = run([pythons.find(headers), "-c", where], folder).strip()
    made = folder / f"{name}.abi3.so"
    flags = ["-shared", "-fPIC", "-O1", "-D_GNU_SOURCE=1", f"-I{include}"]
    run(["cc", *flags, "-o", made, *sorted(sources.glob("*.c")), "-ldl"], folder)
    return int(run([python, "-c", code, made], folder))


@pytest.mark.parametrize("headers", VERSIONS)
def test_whichever_python_compiled_the_extensions_no_call_takes_a_reference_from_none(
    installed: Environments, headers: str, tmp_path: Path
) -> None:
    """On Python 3.11, None is freed when its references are gone, and the process ends."""
    native, sdk = ROOT / "sidecar" / "records" / "native", ROOT / "sdk_python" / "native"
    # Other threads have references of their own, so the numbers are not always the same.
    assert lost(installed.sidecar, headers, "_native", native, NONES_LOST, tmp_path) < 10
    assert abs(lost(installed.sdk, headers, "_decoder", sdk, NONES_LOST_IN_MESSAGES, tmp_path)) < 10
    # An event loop and its tasks come and go, with some tens of references. A fault would lose a thousand.
    assert abs(lost(installed.sdk, headers, "_quick", sdk, NONES_LOST_IN_OUTCOMES, tmp_path)) < 100


def test_a_lambda_without_a_sidecar_says_so_and_a_config_file_needs_an_extra(
    installed: Environments, tmp_path: Path
) -> None:
    (tmp_path / "words.py").write_text(WORDS)
    (tmp_path / "config.yaml").write_text(CONFIG.format(port=9092, listen="unix://s.sock"))
    serve = [str(installed.sdk), "-m", "sdk_python.serve", "words"]
    assert "NAME" in run([*serve, "--help"], tmp_path)
    alone = Program("words", [*serve, "words.py", "--address", f"unix://{tmp_path}/s.sock"], cwd=tmp_path)
    without_yaml = Program("words", serve, cwd=tmp_path)
    try:
        wait_for(lambda: "no sidecar answers" in alone.text(), alone.text)
        assert alone.terminate() == 0
        assert (without_yaml.ended(), "needs PyYAML" in without_yaml.text()) == (2, True)
    finally:
        alone.close()
        without_yaml.close()


def test_the_installed_sidecar_serves_a_lambda_that_has_the_sdk_alone(
    installed: Environments, tmp_path: Path
) -> None:
    (port,), socket = free_ports(1), f"unix://{tmp_path}/s.sock"
    (tmp_path / "words.py").write_text(WORDS)
    (tmp_path / "config.yaml").write_text(CONFIG.format(port=port, listen=socket))
    serve = [str(installed.sdk), "-m", "sdk_python.serve", "words", "words.py", "--address", socket]
    programs = [Program("sidecar", [str(installed.sidecar.parent / "kafka-sidecar")], cwd=tmp_path)]
    try:
        programs[0].wait_for_log("listening for lambdas")
        run([installed.sidecar, "-c", PRODUCE, f"127.0.0.1:{port}"], tmp_path)
        programs.append(Program("words", serve, cwd=tmp_path))
        programs[1].wait_for_log("got the fox")
        assert [program.terminate() for program in reversed(programs)] == [0, 0]
    finally:
        for program in programs:
            program.close()
