"""Errors, from the sidecar's log and status."""

from examples.demo.events import sentence
from examples.demo.pieces import pid_of
from examples.demo.sidecar_process import LogFile
from sdk_python.protocol import admin_pb2 as pb

LAST_LINES = 12


def explained(why: str, log: LogFile | None) -> list[str]:
    """The lines that explain why the run ends, with the last lines of the log. ``log`` None: there is no log."""
    lines = [f"error: {why}"]
    if log is None:
        return lines
    last = log.all()[-LAST_LINES:]
    if last:
        lines.append("the last lines of its log:")
    lines += [f"  {line.get('level', '')!s:<7} {sentence(line)}"[:400] for line in last]
    return [*lines, f"the whole log: {log.path}"]


def last_error(log: LogFile) -> str:
    """The last error in the log, as the end of a sentence; empty: none."""
    for line in reversed(log.all()):
        if line.get("level") in {"error", "critical"}:
            return f": {line.get('error', line['event'])}"
    return ""


def problem(status: pb.StatusResponse) -> str:
    """The problem of a lambda, as the end of a sentence; empty: none."""
    for one in status.lambdas:
        if one.problem:
            return f": {one.name}: {one.problem}"
        if not pid_of(one):
            return f": no {one.name} process has come"
    return ""
