"""What is in the two distributions, and what they ask for."""

from __future__ import annotations

import re

from tests.packaging.conftest import Dist
from tests.servers.wheels import ROOT

VERSION = (ROOT / "sdk_python" / "VERSION").read_text().strip()


def tracked(folder: str) -> set[str]:
    """The files of a package that are installed: code, and the page."""
    found = [path for suffix in ("py", "pyi", "typed") for path in (ROOT / folder).rglob(f"*.{suffix}")]
    found += (ROOT / folder).glob("operate/page/static/*")
    names = {str(path.relative_to(ROOT)) for path in found}
    return {name for name in names if not name.startswith("sdk_python/build/")}


def test_each_is_one_wheel_for_all_pythons_from_3_11_on(dist: Dist) -> None:
    for name, wheel in (("kafka_sidecar_sdk", dist.sdk.wheel), ("kafka_sidecar", dist.sidecar.wheel)):
        assert re.fullmatch(rf"{name}-{VERSION}-cp311-abi3-\w+\.whl", wheel.name)


def test_each_file_is_in_one_of_the_wheels(dist: Dist) -> None:
    """All files of both packages, and beside them the compiled extensions."""
    extensions = {"sdk_python/_decoder.abi3.so", "sdk_python/_quick.abi3.so"}
    assert dist.sdk.files == tracked("sdk_python") | extensions
    assert dist.sidecar.files == tracked("sidecar") | {"sidecar/records/_native.abi3.so"}


def test_the_sdk_needs_grpc_and_protobuf_and_nothing_else(dist: Dist) -> None:
    needs = [str(one) for one in dist.sdk.metadata.get_all("Requires-Dist", [])]
    assert [re.split(r"[>=]", one)[0] for one in needs if "extra ==" not in one] == ["grpcio", "protobuf"]
    assert [one for one in needs if "extra ==" in one] == [
        'PyYAML>=6.0; extra == "config"',
        'opentelemetry-api>=1.30; extra == "tracing"',
    ]


def test_the_sidecar_needs_the_sdk_of_its_own_version(dist: Dist) -> None:
    needs = dist.sidecar.metadata.get_all("Requires-Dist", [])
    assert [one for one in needs if "kafka-sidecar-sdk" in one] == [f"kafka-sidecar-sdk=={VERSION}"]
    assert not [one for one in needs if "file:" in one]  # of the machine that built it
    assert dist.sidecar.metadata["Version"] == dist.sdk.metadata["Version"] == VERSION


def test_the_sources_have_the_licence_and_what_is_compiled(dist: Dist) -> None:
    compiled = {str(path.relative_to(ROOT)) for path in (ROOT / "sidecar").rglob("*.[ch]")}
    assert compiled
    assert {"LICENSE", *compiled} <= dist.sidecar.source_files
    compiled = {str(path.relative_to(ROOT / "sdk_python")) for path in (ROOT / "sdk_python").rglob("*.[ch]")}
    assert compiled
    assert {"LICENSE", "VERSION", "py.typed", "protocol/lambda_pb2.py", *compiled} <= dist.sdk.source_files
