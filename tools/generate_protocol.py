"""Generate ``sdk_python/protocol`` from ``proto``: messages, their types, and the gRPC stubs.

``python tools/generate_protocol.py [OUTPUT]`` writes to ``sdk_python/protocol`` unless told otherwise; the test
that the generated code is up to date runs it into a temporary folder and compares.
"""

import re
import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def generate(output: Path) -> None:
    """Write ``*_pb2.py``, ``*_pb2.pyi`` and ``*_pb2_grpc.py`` for each file in ``proto/`` into ``output``.

    Raises ``RuntimeError`` when the compiler refuses a file; its own message is on stderr.
    """
    output.mkdir(parents=True, exist_ok=True)
    well_known = str(resources.files("grpc_tools") / "_proto")
    sources = sorted(str(path) for path in (ROOT / "proto").glob("*.proto"))
    arguments = [f"-I{ROOT / 'proto'}", f"-I{well_known}", *(f"--{k}={output}" for k in _OUTPUTS), *sources]
    if protoc.main(["protoc", *arguments]) != 0:
        raise RuntimeError("protoc refused a file in proto/")
    for stub in output.glob("*_pb2_grpc.py"):
        # protoc imports siblings as top-level modules; inside a package they are relative.
        stub.write_text(re.sub(r"^import (\w+_pb2) as", r"from . import \1 as", stub.read_text(), flags=re.MULTILINE))


_OUTPUTS = ("python_out", "pyi_out", "grpc_python_out")

if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "sdk_python" / "protocol")
