"""Check ``proto`` with ``buf lint``, by the rules in ``buf.yaml``: ``python tools/lint_protocol.py``.

buf cannot map a folder to a path of the registry as protoc can, so it gets what protoc made of the files.
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from generate_protocol import ROOT, write_image

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        image = Path(folder) / "contract.binpb"
        write_image(image)
        buf = Path(sys.executable).with_name("buf")
        sys.exit(subprocess.run([buf, "lint", image, "--config", ROOT / "buf.yaml"], check=False).returncode)
