"""What a run shows, whatever a client has sent."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import report, trace
from sidecar.conformance.case import Case
from sidecar.conformance.events import Event, Kind
from sidecar.conformance.rules import Broken
from sidecar.conformance.runner import Result
from sidecar.conformance.stage import Stage

HOSTILE = "\x1b[2J\r\u202e\x00"


async def _nothing(_: Stage) -> None:
    pass


def _result(*, broken: bool = False, advice: bool = False) -> Result:
    case = Case("a-case", 16, "It shows something.", _nothing, do="checkpoint=1", advice=advice)
    found = [Broken(16, f"checkpoint of {HOSTILE}")] if broken else []
    shown = trace.line(Event(1.5, Kind.SIGNALLED, note=HOSTILE))
    return Result(case, found, 2.0, shown, (), f"written {HOSTILE}")


@pytest.mark.parametrize(
    ("result", "verdict"),
    [
        (_result(), "holds"),
        (_result(broken=True), "broken"),
        (_result(broken=True, advice=True), "advice"),
    ],
)
def test_verdicts(result: Result, verdict: str) -> None:
    assert report.verdict(result) == verdict
    assert report.line(result).split() == [verdict, "2.0", "s", "R16", "a-case", "It", "shows", "something."]
    assert report.fails([_result(), result]) == (verdict == "broken")


def test_summary() -> None:
    results = [_result(), _result(), _result(broken=True)]
    assert report.summary(results) == "3 cases: 2 hold, 1 do not"
    results.append(_result(broken=True, advice=True))
    assert report.summary(results) == "4 cases: 2 hold, 1 do not; 1 on what is only recommended"


def test_nothing_of_a_client_reaches_the_terminal_raw() -> None:
    text = report.details(_result(broken=True))
    assert "\\x1b[2J" in text
    assert text.replace("\n", "").isprintable()


def test_junit_is_xml_whatever_was_written() -> None:
    suite = ET.fromstring(report.as_junit([_result(), _result(broken=True), _result(broken=True, advice=True)]))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert [[child.tag for child in case] for case in suite] == [[], ["failure"], ["skipped"]]


def test_json() -> None:
    [holds, broken] = json.loads(report.as_json([_result(), _result(broken=True)]))["cases"]
    assert (holds["verdict"], holds["broken"], holds["trace"]) == ("holds", [], [])
    assert broken["broken"][0]["rule"] == 16
    assert broken["broken"][0]["says"].startswith("A checkpoint names an offset")


def test_lines_of_the_trace() -> None:
    frame = pb.LambdaFrame(ready=pb.Ready(lease=HOSTILE))
    shown = trace.line(Event(1.25, Kind.FRAME, stream=3, message=frame))
    assert shown.startswith("     1.250  stream 3      ──▶ Ready {lease:")
    assert shown.isprintable()
    batch = pb.HostFrame(batch=pb.Batch(first_offset=5, values=[b""] * 20))
    assert trace.line(Event(0, Kind.SENT, stream=1, message=batch)).endswith("◀── Batch of 20: 5, 6, 7, ... 24")
    large = pb.LambdaFrame(pause=pb.Pause(reason="x" * 100_000))
    assert len(trace.line(Event(0, Kind.FRAME, stream=1, message=large))) < 300
