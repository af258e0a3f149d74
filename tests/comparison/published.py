"""Plays sessions on the published packages, in Node."""

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers import environments
from tests.comparison.played import comparable

HERE = Path(__file__).resolve().parent


def answers(program: str, sessions: Iterable[dict[str, Any]]) -> Iterator[Any]:
    """The answers of the program with this name in `original` to each session.

    Raises ``environments.NotToBeHadError`` when the packages cannot be installed, ``RuntimeError`` when the program
    fails.
    """
    node = shutil.which("node")
    if node is None:
        raise environments.NotToBeHadError("no `node` on the PATH")
    command = [node, str(HERE / "original" / f"{program}.js"), str(environments.node("node_deli"))]
    lines = "".join(f"{json.dumps(session)}\n" for session in sessions)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{program}.js: {done.stderr.strip()[-2000:]}")
    for line in done.stdout.split("\n")[:-1]:  # not `splitlines`, which splits at more characters
        yield comparable(json.loads(line))
