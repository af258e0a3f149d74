"""Config files for tests, and the mistakes in them."""

from pathlib import Path

import pytest

from sidecar.config import (
    Config,
    ConfigError,
    load,
)

KAFKA = "kafka: {bootstrap.servers: localhost:9092}\n"

DELI = "lambdas: {deli: {topic: rawdeltas, group: deli}}\n"


def config_file(path: Path, text: str) -> Path:
    made = path / "config.yaml"
    made.write_text(text)
    return made


def read(path: Path, text: str, **environ: str) -> Config:
    return load(config_file(path, text), environ)


def mistakes(path: Path, text: str, **environ: str) -> list[str]:
    """Each mistake as `line path: message; hint`."""
    with pytest.raises(ConfigError) as caught:
        read(path, text, **environ)
    return [f"{mistake.line} {mistake}" for mistake in caught.value.mistakes]


def lambda_mistakes(path: Path, body: str) -> list[str]:
    """The mistakes of a lambda with a topic, a group and ``body``, without their lines and paths."""
    found = mistakes(path, f"{KAFKA}lambdas: {{x: {{topic: t, group: g, {body}}}}}")
    assert all(one.startswith("2 lambdas.x.") for one in found)
    return [one.removeprefix("2 lambdas.x.") for one in found]


def tls(path: Path, *names: str) -> str:
    for name in names:
        (path / name).write_text("")
    return ", ".join(f"{name}: {path / name}" for name in names)
