"""Generate ``sdk_python/protocol`` from ``proto``: messages, their types, and the gRPC stubs.

``python tools/generate_protocol.py [OUTPUT]`` writes to ``sdk_python/protocol`` unless told otherwise; the test
that the generated code is up to date runs it into a temporary folder and compares.
"""

import re
import sys
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent

REGISTRY = {
    "lambda.proto": "kafka_sidecar/v1",
    "admin.proto": "kafka_sidecar/admin/v1",
    "commit.proto": "kafka_sidecar/commit/v1",
}
"""The folder that each file of ``proto/`` is in, as the registry of descriptors knows it. A process has one registry
for all packages: there, a plain ``admin.proto`` would collide with anybody else's."""

_GENERATORS = ("python_out", "pyi_out", "grpc_python_out")


def generate(output: Path) -> None:
    """Write ``*_pb2.py``, ``*_pb2.pyi`` and ``*_pb2_grpc.py`` for each file in ``proto/`` into ``output``.

    Raises ``RuntimeError`` when the compiler refuses a file; its own message is on stderr.
    """
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        _compile(*(f"--{generator}={folder}" for generator in _GENERATORS))
        for made in sorted(Path(folder).rglob("*_pb2*")):
            # protoc imports what it made by the registry's path; here all of it is in one package.
            text = re.sub(
                r"^from kafka_sidecar[\w.]* import (\w+_pb2) as",
                r"from . import \1 as",
                made.read_text(),
                flags=re.MULTILINE,
            )
            (output / made.name).write_text(text)


def write_image(path: Path) -> None:
    """Write the descriptors of all files, with their comments, to ``path``: what tools such as buf read.

    Raises ``RuntimeError`` as ``generate``.
    """
    _compile("--include_source_info", f"--descriptor_set_out={path}")


def _compile(*options: str) -> None:
    well_known = str(resources.files("grpc_tools") / "_proto")
    mapped = [f"-I{folder}={ROOT / 'proto'}" for folder in REGISTRY.values()]
    sources = [f"{folder}/{name}" for name, folder in REGISTRY.items()]
    if protoc.main(["protoc", *mapped, f"-I{well_known}", *options, *sources]) != 0:
        raise RuntimeError("protoc refused a file in proto/")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "sdk_python" / "protocol")
