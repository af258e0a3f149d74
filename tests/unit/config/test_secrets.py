"""Secrets that YAML takes for something else, at each place for a secret: no answer of `--check` shows one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import main

SECRET = "s3cr3t-p4ss"

KAFKA = "kafka: {{bootstrap.servers: k:9092}}\n"
LAMBDA = "lambdas:\n  x:\n    topic: t\n    group: g\n"
PLACES = {
    "kafka": f"kafka:\n  bootstrap.servers: k:9092\n  {{key}}: {{value}}\n{LAMBDA}",
    "server": f"{KAFKA}server:\n  {{key}}: {{value}}\n{LAMBDA}",
    "lambda": f"{KAFKA}{LAMBDA}    {{key}}: {{value}}\n",
    "settings": f"{KAFKA}{LAMBDA}    settings:\n      {{key}}: {{value}}\n",
}

KEYS = [
    *(("kafka", key) for key in ("sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.passwd", "password")),
    *(("server", key) for key in ("token", "admin_token", "tokn", "password")),
    *(("lambda", key) for key in ("settings", "env", "command", "password", "token")),
    *(("settings", key) for key in ("password", "url")),
]

VALUES = [
    *("{s}", "'{s} x'", '"{s}\\n"', "[{s}]", "[[{s}]]", "{{{s}}}", "{{{s}: 1}}", "{{a: {s}}}", "{{a: {{{s}: b}}}}"),
    *("!{s}", "!!{s} x", "*{s}", "&{s}", "&{s} x", "@{s}", "%{s}", "`{s}", "'{s}", '"{s}', "[{s}", "{{{s}", "{s}: x"),
    *("{s}:", "- {s}", "? {s}", "|\n {s}", ">\n {s}", "x\n{s}", "x\n  {s}\n :", "${{{s}}}", "${{{s}", "${s}"),
    *("http://me:{s}@host", "A={s} program", "program && {s}", "'program {s}", "{s}={s}", "a={s}", "[a, {s}, 5]"),
    *("{{'{s}=x': y}}", "{{'a={s}': y}}", "{{5: {s}}}", "{{on: {s}}}", "0{s}", "\t{s}", "\x07{s}", "\u00a0{s}: x"),
]

OF_COMMAND = [f"program {value}" for value in VALUES] + [
    "[program, {s}, 5]",
    "http://me:{s}@host",
    "[A={s}, program]",
]
"""The first word is the program, which an answer names."""


@pytest.mark.parametrize(("place", "key"), KEYS)
def test_no_answer_shows_it(place: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for value in VALUES if key != "command" else OF_COMMAND:
        text = PLACES[place].format(key=key, value=value.format(s=SECRET))
        Path("config.yaml").write_text(text)
        result = CliRunner().invoke(main, ["--check"], prog_name="kafka-sidecar")
        assert result.exception is None or isinstance(result.exception, SystemExit), (text, result.exc_info)
        assert SECRET not in result.output, f"{text}\n{result.output}"
        assert result.output.endswith(("ok\n", "nothing was started\n"))
