"""What every command about dead letters begins with: the config, the topics, and reading them with a progress bar."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sidecar.commands.failures import config_mistakes
from sidecar.config import Config, load
from sidecar.dead_letters.choice import Choice
from sidecar.dead_letters.contents import Contents, Partition
from sidecar.dead_letters.topics import dead_letter_topics
from sidecar.visible import visible

if TYPE_CHECKING:  # Kafka's client loads only when it is needed
    from sidecar.dead_letters.clients import Cluster
    from sidecar.dead_letters.reading import Reader


@dataclass(frozen=True, slots=True)
class Wanted:
    """The letters that a command is about, as the operator said it."""

    choice: Choice
    topic: str | None
    """A dead-letter topic; None: those of the config's lambdas."""


@dataclass(frozen=True, slots=True)
class Session:
    """A command that has reached Kafka."""

    config: Config
    cluster: Cluster
    reader: Reader
    known: dict[str, int]
    """The number of partitions of all topics."""

    def read(self, wanted: Wanted) -> Contents:
        """The contents of all topics that may have the wanted letters. Names that no letter has are an error."""
        partitions = self._partitions(wanted)
        ends = {} if self.cluster.embedded else self.reader.ends(partitions)
        total = sum(last - first for first, last in ends.values())
        with progress("reading dead letters", total) as advance:
            contents = self.reader.read(partitions, advance)
        missing = wanted.choice.missing(contents.letters.values())
        if missing:
            where = ", ".join(sorted({topic for topic, _ in partitions})) or "any dead-letter topic"
            raise click.ClickException(visible(f"there is no dead letter {missing[0]} in {where}"))
        return contents

    def _partitions(self, wanted: Wanted) -> list[Partition]:
        from sidecar.dead_letters.reading import partitions_of  # noqa: PLC0415 - Kafka's client

        places, lambda_name = wanted.choice.places, wanted.choice.lambda_name
        if lambda_name is not None and lambda_name not in self.config.lambdas:
            names = ", ".join(self.config.lambdas)
            raise click.ClickException(visible(f"the config has no lambda {lambda_name}; it has {names}"))
        if places and not wanted.choice.fingerprints:
            # The marks of a letter are in its partition.
            named = sorted({(place.topic, place.partition) for place in places})
            for topic, partition in named:
                if wanted.topic not in (None, topic):
                    raise click.ClickException(visible(f"{topic}/{partition} is not in --topic {wanted.topic}"))
                if partition >= self.known.get(topic, 0):
                    raise click.ClickException(visible(f"there is no partition {topic}/{partition}"))
            return named
        if wanted.topic is not None:
            if wanted.topic not in self.known:
                raise click.ClickException(
                    visible(f"there is no topic {wanted.topic}, or the user may not see it; --topic names it")
                )
            return partitions_of([wanted.topic], self.known)
        return partitions_of(dead_letter_topics(self.config, self.known, lambda_name), self.known)


@contextmanager
def session(path: Path) -> Iterator[Session]:
    """Read the config file and reach Kafka. What goes wrong inside becomes a message and exit code 1."""
    from sidecar.dead_letters.clients import Cluster, DeadLettersError  # noqa: PLC0415 - Kafka's client
    from sidecar.dead_letters.reading import Reader  # noqa: PLC0415 - Kafka's client

    with config_mistakes():
        config = load(path, os.environ)
    try:
        cluster = Cluster(config)
        with Reader(cluster) as reader:
            yield Session(config, cluster, reader, reader.topics())
    except DeadLettersError as error:
        raise click.ClickException(visible(str(error))) from None


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal; the function moves it on."""
    if not sys.stderr.isatty() or total <= 0:
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415 - loads only when it is needed
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
