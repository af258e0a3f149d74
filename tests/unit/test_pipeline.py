"""The pipeline's text, config, recordings and check; nothing is started here."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.demo.events import Event
from examples.demo.pieces import Flow
from examples.demo.rows import Row, Rows
from examples.pipeline.picture import Snapshot
from examples.pipeline.recorded import recordings, records
from examples.pipeline.setting import AS_RECORDED, Names, config
from examples.pipeline.stored import contradictions
from sdk_python.protocol import admin_pb2 as pb
from sidecar.config.load import load

NAMES = Names("1a2b")


def lambda_(name: str, state: pb.PartitionState = pb.PARTITION_STATE_RUNNING, reason: str = "") -> pb.Lambda:
    partitions = [
        pb.Partition(partition=number, state=state, reason=reason, committed=12_400_000, end=12_401_234)
        for number in range(4)
    ]
    return pb.Lambda(name=name, processes=[pb.Process(pid=1234567)], partitions=partitions)


def snapshot(**fields: Any) -> Snapshot:
    flow = Flow(49_600_000, 2_345.6, [2_000.0] * 120)
    documents = [Row(f"document-{number}", 123_456 + number, 123_400, 3, ["word"] * 90, 40) for number in range(20)]
    given = {
        "seconds": 754.2,
        "phase": "",
        "where": "127.0.0.1:50123, run 1a2b",
        **dict.fromkeys(("rawdeltas", "deli", "deltas", "stored"), flow),
        "deli_status": lambda_("deli"),
        "scriptorium_status": lambda_("scriptorium"),
        "rows": Rows(documents=documents),
    }
    return Snapshot(**{**given, **fields})


def drawn(now: Snapshot, width: int = 80, height: int = 30) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    console.print(now.picture(width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def paused() -> Snapshot:
    status = lambda_("scriptorium", pb.PARTITION_STATE_PAUSED, "operations cannot be stored: no server")
    return snapshot(scriptorium_status=status, away="no server")


# --- the picture ----------------------------------------------------------------------------------------------------


def test_the_picture_fits() -> None:
    events = [Event(753.0, "good", "x" * 200)] * 9
    lines = drawn(snapshot(phase="what is under way ends", events=events))
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80
    assert "what is under way ends  12:34" in lines[0]
    assert any("more documents" in line for line in lines)


def test_the_picture_tells_the_stages() -> None:
    lines = drawn(snapshot(), 120, 40)
    row = next(line for line in lines if line.startswith(" scriptorium ") and "/s" in line)
    assert row.split()[:4] == ["scriptorium", "2,346/s", "49,600,000", "4,936"]
    assert any(line.startswith(" deli         0 running  1 running") and "pid 1234567" in line for line in lines)
    assert any("kill -9 1234567" in line for line in lines)


def test_the_picture_tells_a_pause_with_its_reason() -> None:
    lines = drawn(paused(), 120, 40)
    assert " scriptorium 0, 1, 2, 3 paused: operations cannot be stored: no server" in lines
    assert any(line.startswith(" database") and "away: no server" in line for line in lines)
    assert any(line.startswith(" scriptorium  0 paused   1 paused") for line in lines)


def test_a_long_reason_takes_no_room_from_the_numbers() -> None:
    lines = drawn(snapshot(away="ServerSelectionTimeoutError: " * 9))
    assert max(map(len, lines)) <= 80
    row = next(line for line in lines if line.startswith(" scriptorium ") and "/s" in line)
    assert row.split()[:4] == ["scriptorium", "2,346/s", "49,600,000", "4,936"]
    assert any(line.startswith(" database") and "49,600,000" in line and "…" in line for line in lines)


def test_the_plain_lines() -> None:
    first, *rest = paused().lines()
    assert first == (
        "12:34  rawdeltas 2,346/s  deli 2,346/s lag 4,936  deltas 2,346/s  scriptorium lag 4,936"
        "  stored 2,346/s, 49,600,000 of 49,600,000  running deli 4/4  scriptorium 0/4"
    )
    assert rest[0] == "      scriptorium 0, 1, 2, 3 paused: operations cannot be stored: no server"
    assert rest[1].startswith("      document-0 123,456  document-1 123,457")


# --- the config -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", [False, True])
def test_the_config_is_one_that_the_sidecar_takes(tmp_path: Path, recorded: bool) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(json.dumps(config(NAMES, "broker:9092", recorded)))
    environment = {"DEMO_LISTEN": "unix:///tmp/s.sock", "PIPELINE_MONGO": "mongodb://user:secret@host"}
    loaded = load(path, environment)
    deli, scriptorium = loaded.lambdas["deli"], loaded.lambdas["scriptorium"]
    assert deli.settings.get("sequencer") == (AS_RECORDED if recorded else None)
    assert scriptorium.settings["url"] == "mongodb://user:secret@host"
    assert "secret" not in path.read_text()
    assert deli.group != scriptorium.group


def test_all_names_are_the_runs_own() -> None:
    assert all("1a2b" in name for name in [*NAMES.topics, *NAMES.groups, NAMES.collection])
    assert len({*NAMES.topics, *NAMES.groups}) == 5


# --- the check ------------------------------------------------------------------------------------------------------


def test_a_store_that_is_right() -> None:
    assert not contradictions({"d": 3, "e": 0}, {"d": Counter([1, 3, 2])})


def test_a_store_that_is_wrong() -> None:
    stored = {"d": Counter([1, 2, 2, 12]), "f": Counter([1])}
    assert contradictions({"d": 10, "e": 1}, stored) == [
        "f is stored, and nobody gave it numbers",
        "d: 8 of 10 numbers are not stored: 3, 4, 5, 6, 7, ...",
        "d: 1 of 10 numbers were never given: 12",
        "d: 1 of 10 numbers are stored twice: 2",
        "e: 1 of 1 numbers are not stored: 1",
    ]


# --- recordings -----------------------------------------------------------------------------------------------------


def test_recordings_come_in_turn(tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 1)):
        lines = [json.dumps({"key": name, "value": {"n": number}}) for number in range(count)]
        (tmp_path / f"{name}.rawdeltas.jsonl").write_text("\n".join(lines) + "\n")
    found = recordings(tmp_path)
    assert [path.name for path in found] == ["a.rawdeltas.jsonl", "b.rawdeltas.jsonl"]
    assert [*records(found)] == [("a", b'{"n":0}'), ("b", b'{"n":0}'), ("a", b'{"n":1}'), ("a", b'{"n":2}')]


def test_a_folder_without_recordings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no files \*\.rawdeltas\.jsonl in "):
        recordings(tmp_path)


@pytest.mark.parametrize("line", ["{", "[]", '{"key": "d"}', "7"])
def test_a_line_that_is_no_record(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.rawdeltas.jsonl"
    path.write_text(f'{{"key": "d", "value": 1}}\n{line}\n')
    with pytest.raises(ValueError, match=r"a\.rawdeltas\.jsonl:2: no "):
        list(records([path]))
