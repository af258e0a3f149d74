"""A record's trace goes on into the record that a lambda makes of it; and docs/tracing.md shows what is seen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.integration.harness import PATIENCE, ROOT, Program, Stage, wait_for
from tests.integration.test_readme import blocks, commands, output
from tests.servers.process import free_ports
from tests.servers.topics import Record, create_topic, read_all

PAGE = (ROOT / "docs" / "tracing.md").read_text()
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVE = [sys.executable, "-m", "sdk_python.serve"]


def test_a_produced_record_is_in_the_trace_of_the_one_it_was_made_of(stage: Stage) -> None:
    stage.create_topic()
    create_topic(stage.broker.address, "loud")
    sidecar = stage.sidecar(produce=["loud"])
    process = stage.program("shout", [*SERVE, "echo", "examples.tracing", "--address", sidecar.address])
    own = f"{stage.topic} in a trace".encode()
    traceparent = f"00-{TRACE}-{PARENT}-01".encode()
    stage.produce([Record(value=own, headers=[("a", b"1"), ("traceparent", traceparent)]), Record(value=b"without")])
    stage.wait_until_caught_up()
    process.wait_for_log(f"{TRACE} producer send loud")
    process.wait_for_log(f"{TRACE} internal shout")
    copies = {copy.value: dict(copy.headers or ()) for copy in read_all(stage.broker.address, "loud")}
    version, trace_id, span_id, flags = (copies[own.upper()]["traceparent"] or b"").decode().split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "01")
    assert span_id not in {PARENT, "0" * 16}
    without = (copies[b"WITHOUT"]["traceparent"] or b"").decode()
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", without)
    assert TRACE not in without
    assert process.terminate() == 0


def test_the_page_shows_what_one_sees(tmp_path: Path) -> None:
    """Follow the page alone; only the port differs, and the sidecar's address is a socket."""
    (python,), (configuration,) = blocks(PAGE, "python"), blocks(PAGE, "yaml")
    _, run, write, serve = commands(PAGE)
    port = str(free_ports(1)[0])
    listen = f"server: {{listen: 'unix://{tmp_path}/s.sock'}}\n"
    (tmp_path / "shout.py").write_text(python)
    (tmp_path / "config.yaml").write_text(configuration.replace(":9092", f":{port}") + listen)
    assert run[0] == "kafka-sidecar"
    sidecar = Program("sidecar", [sys.executable, "-m", "sidecar", *run[1:]], {"PYTHONPATH": str(ROOT)}, tmp_path)
    programs = [sidecar]
    try:
        sidecar.wait_for_log("listening for lambdas")
        assert write[0] == "python"
        record = [sys.executable, *(word.replace(":9092", f":{port}") for word in write[1:])]
        subprocess.run(record, cwd=tmp_path, check=True, timeout=PATIENCE)
        shout = Program("shout", [sys.executable, *serve[1:]], {"PYTHONPATH": str(ROOT)}, tmp_path)
        programs.append(shout)
        shown = output(PAGE, serve)
        assert len(shown) == 2
        wait_for(
            lambda: sorted(line["event"] for line in shout.log(TRACE)) == shown,
            lambda: f"{shown} in:\n{shout.text()}\n{sidecar.text()}",
        )
        (copy,) = read_all(f"127.0.0.1:{port}", "loud")
        assert (copy.value, TRACE in str(copy.headers)) == (b"HELLO", True)
        assert (shout.terminate(), sidecar.terminate()) == (0, 0)
    finally:
        for program in programs:
            program.close()


def test_the_example_is_the_lambda_of_the_page() -> None:
    _, _, example = (ROOT / "examples" / "tracing.py").read_text().partition('"""\n\n')
    assert blocks(PAGE, "python") == [example]
