"""The cost of a call in interpreter steps instead of time: the same on any machine, however busy."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Literal


def steps(kind: Literal["line", "opcode"], packages: tuple[ModuleType, ...], call: Callable[[], object]) -> int:
    """The number of lines or instructions that run in the files of these packages, without C code."""
    folders = tuple(str(Path(package.__path__[0])) for package in packages)
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(folders):
            return None
        frame.f_trace_opcodes = kind == "opcode"
        frame.f_trace_lines = kind == "line"
        count += event == kind
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
