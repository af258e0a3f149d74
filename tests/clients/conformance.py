"""``python -m tests.clients.conformance [LANGUAGE ...]``: grade the SDK of each language with the conformance kit."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from tests.clients.languages import LANGUAGES, ROOT, NotBuiltError, command


def main(languages: Sequence[str]) -> int:
    """Grade one after the other; returns 0 when every case holds for all of them, 2 when one cannot be started."""
    failed = []
    for language in languages or LANGUAGES:
        if language not in LANGUAGES:
            print(f"{language!r} is none of {', '.join(LANGUAGES)}", file=sys.stderr)
            return 2
        try:
            program = command(language, "conformance")
        except NotBuiltError as error:
            print(error, file=sys.stderr)
            return 2
        print(f"\n== {language}", flush=True)
        began = time.monotonic()
        kit = [sys.executable, "-m", "sidecar", "conformance", "--", *program]
        if subprocess.run(kit, cwd=ROOT, check=False).returncode:
            failed.append(language)
        print(f"{language}: {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        print(f"\nnot all cases hold: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
