"""What is shown of a run: a table for people, JSON, and JUnit's XML. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from sidecar.conformance.case import Case
from sidecar.conformance.rules import RULES
from sidecar.conformance.runner import Result
from sidecar.visible import visible, visible_lines

_SHOWN_OUTPUT_LINES = 25


def verdict(result: Result) -> str:
    """`holds`, `broken`, or `advice`: what is only recommended does not hold."""
    if result.holds:
        return "holds"
    return "advice" if result.case.advice else "broken"


def fails(results: Sequence[Result]) -> bool:
    """Whether a rule was broken in a case that is not advice."""
    return any(verdict(result) == "broken" for result in results)


def line(result: Result) -> str:
    """One case in one line."""
    case = result.case
    return f"{verdict(result):<7} {result.seconds:5.1f} s  {'R' + str(case.rule):<4} {case.name:<26} {case.shows}"


def listed(case: Case) -> str:
    """A case in the list of all."""
    advice = " (advice)" if case.advice else ""
    section = f" ({case.section})" if case.section else ""
    return f"{'R' + str(case.rule):<4} {case.name:<26} {case.shows}{advice}{section}"


def summary(results: Sequence[Result]) -> str:
    """The last line."""
    counts = {word: sum(verdict(result) == word for result in results) for word in ("holds", "broken", "advice")}
    text = f"{len(results)} cases: {counts['holds']} hold, {counts['broken']} do not"
    return f"{text}; {counts['advice']} on what is only recommended" if counts["advice"] else text


def details(result: Result) -> str:
    """What broke, with the frames that led there and what the process wrote."""
    case = result.case
    lines = [f"{case.name}: {case.shows}"]
    for number in dict.fromkeys(broken.rule for broken in result.broken):
        lines.append(f"  R{number}  {RULES[number]}")
        lines += [f"    {visible(b.text)}" for b in result.broken if b.rule == number]
    lines += [f"  the lambda's words: {case.do or 'none'}", "", result.trace]
    if result.output.strip():
        written = result.output.strip().splitlines()[-_SHOWN_OUTPUT_LINES:]
        lines += ["", "  the end of what the process wrote:", visible_lines("\n".join(written), "  | ")]
    return "\n".join(lines)


def as_json(results: Sequence[Result]) -> str:
    """The results as JSON."""
    return json.dumps({"cases": [_plain(result) for result in results]}, indent=2)


def _plain(result: Result) -> dict[str, object]:
    case = result.case
    return {
        "name": case.name,
        "rule": case.rule,
        "section": case.section,
        "shows": case.shows,
        "verdict": verdict(result),
        "seconds": round(result.seconds, 3),
        "broken": [{"rule": b.rule, "says": RULES[b.rule], "found": b.text} for b in result.broken],
        "trace": [] if result.holds else result.trace.splitlines(),
        "output": "" if result.holds else result.output,
    }


def as_junit(results: Sequence[Result]) -> str:
    """The results as JUnit's XML."""
    seconds = sum(result.seconds for result in results)
    suite = ET.Element(
        "testsuite",
        name="kafka-sidecar conformance",
        tests=str(len(results)),
        failures=str(sum(verdict(result) == "broken" for result in results)),
        skipped=str(sum(verdict(result) == "advice" for result in results)),
        time=f"{seconds:.3f}",
    )
    for result in results:
        case = result.case
        node = ET.SubElement(
            suite, "testcase", classname=f"R{case.rule}", name=case.name, time=f"{result.seconds:.3f}"
        )
        if result.holds:
            continue
        message = visible("; ".join(str(broken) for broken in result.broken))
        kind = "skipped" if case.advice else "failure"
        # XML has no escape for control characters, which `visible_lines` has replaced.
        ET.SubElement(node, kind, message=message).text = visible_lines(details(result))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)
