"""The cost of a call in interpreter steps instead of time: the same on any machine, however busy."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Literal


def steps(kind: Literal["line", "opcode"], packages: tuple[ModuleType, ...], call: Callable[[], object]) -> int:
    """The number of lines or instructions that run in the files of these packages, without C code."""
    folders = tuple(str(Path(package.__path__[0])) for package in packages)
    if sys.version_info >= (3, 12):
        return _monitored(kind, folders, call)
    return _traced(kind, folders, call)


def _traced(kind: Literal["line", "opcode"], folders: tuple[str, ...], call: Callable[[], object]) -> int:
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


if sys.version_info >= (3, 12):
    # There a trace function hears of no instruction of a function that it meets for the first time.

    def _monitored(kind: Literal["line", "opcode"], folders: tuple[str, ...], call: Callable[[], object]) -> int:
        monitoring, tool, here = sys.monitoring, sys.monitoring.PROFILER_ID, threading.get_ident()
        event = monitoring.events.LINE if kind == "line" else monitoring.events.INSTRUCTION
        count = 0

        def one(code: CodeType, _: int) -> Any:
            nonlocal count
            if not code.co_filename.startswith(folders):
                return monitoring.DISABLE
            count += threading.get_ident() == here
            return None

        monitoring.use_tool_id(tool, "steps")
        monitoring.register_callback(tool, event, one)
        monitoring.restart_events()  # what was disabled by an earlier call, with other packages
        monitoring.set_events(tool, event)
        try:
            call()
        finally:
            monitoring.set_events(tool, 0)
            monitoring.register_callback(tool, event, None)
            monitoring.free_tool_id(tool)
        return count
