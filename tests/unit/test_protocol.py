"""The generated code is what `proto/` says now, and gets on with other packages' descriptors."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_generated_code_is_up_to_date(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_protocol", ROOT / "tools" / "generate_protocol.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.generate(tmp_path)
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert sorted(fresh) == sorted(
        path.name for path in (ROOT / "sdk_python" / "protocol").iterdir() if "_pb2" in path.name
    )
    for name, text in fresh.items():
        kept = (ROOT / "sdk_python" / "protocol" / name).read_text()
        if text != kept:
            pytest.fail(f"sdk_python/protocol/{name} is not what proto/ generates: run `make proto`")


def test_stubs_for_python_are_made_as_the_docs_say(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    found = re.search(r"^python (-m grpc_tools\.protoc .*\n.*)$", text, re.MULTILINE)
    assert found is not None
    arguments = shlex.split(found[1].replace("\\\n", "").replace("OUT", str(tmp_path)))
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)
    # In a process of its own: this one has descriptors of that path already.
    read = "from kafka_sidecar.v1 import lambda_pb2_grpc; print(lambda_pb2_grpc.LambdaHostStub.__name__)"
    done = subprocess.run([sys.executable, "-c", read], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "LambdaHostStub"


_BESIDE_ANOTHER_PACKAGE = """
from google.protobuf import descriptor_pb2, descriptor_pool

for name in ("lambda.proto", "admin.proto", "commit.proto"):
    foreign = descriptor_pb2.FileDescriptorProto(name=name, package="another", syntax="proto3")
    foreign.message_type.add(name=f"Of{name.title().replace('.', '')}")
    descriptor_pool.Default().Add(foreign)

from sdk_python.protocol import admin_pb2, commit_pb2, lambda_pb2

for module in (lambda_pb2, admin_pb2, commit_pb2):
    print(module.DESCRIPTOR.name)
"""


def test_another_package_may_have_files_of_the_same_names() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BESIDE_ANOTHER_PACKAGE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.split() == [
        "kafka_sidecar/v1/lambda.proto",
        "kafka_sidecar/admin/v1/admin.proto",
        "kafka_sidecar/commit/v1/commit.proto",
    ]
