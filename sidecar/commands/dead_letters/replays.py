"""`dead-letters replay` and `edit`, which write records to where they came from."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.commands.dead_letters.options import about_letters, confirmed, yes
from sidecar.commands.dead_letters.session import Session, Wanted, progress, session
from sidecar.commands.dead_letters.targets import checked, plan_text
from sidecar.commands.say import say
from sidecar.commands.show import many
from sidecar.dead_letters.choice import Choice
from sidecar.dead_letters.contents import Contents
from sidecar.dead_letters.exported import Malformed
from sidecar.dead_letters.mended import MendedFile
from sidecar.dead_letters.plan import Step, replay_plan
from sidecar.visible import visible

if TYPE_CHECKING:  # Kafka's client loads only when it is needed
    from sidecar.dead_letters.replay_run import Manner

WITHOUT_TRANSACTIONS = (
    "WARNING: the embedded broker has no transactions. If this replay is stopped midway, or two run at once, some "
    "records are replayed twice."
)

_to = click.option("--to", metavar="TOPIC", help="Write to this topic. Default: to where each record came from.")
_keep = click.option(
    "--keep-timestamps",
    is_flag=True,
    help="Keep each record's own timestamp. Default: the time of the replay, so that retention does not delete an "
    "old record before it is handled.",
)
_no_history = click.option("--no-history", is_flag=True, help="Do not add the header with the earlier failures.")


@click.command()
@about_letters
@click.option("--all", "everything", is_flag=True, help="All that were not replayed.")
@click.option(
    "--from",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The letters in a file that `export` has written, as somebody changed them.",
)
@_to
@click.option("--rate", type=click.FloatRange(0, min_open=True), metavar="N", help="At most N records a second.")
@click.option("--dry-run", is_flag=True, help="Say what would be written. Write nothing.")
@_keep
@_no_history
@yes
@click.pass_obj
def replay(
    path: Path,
    wanted: Wanted,
    everything: bool,
    file: Path | None,
    to: str | None,
    rate: float | None,
    dry_run: bool,
    keep_timestamps: bool,
    no_history: bool,
    yes: bool,
) -> None:
    """Write records back to where they came from, in their order there.

    Each letter is replayed once: Kafka stores the record and a mark of its letter in one transaction. A replay may be
    stopped at any time, and started again. Only one runs for a dead-letter topic: a new one takes over from the one
    before.

    Every group that consumes the topic gets the record again, not only the lambda that failed. --to names another
    topic, such as one that only this lambda consumes.

    \b
    Examples:
      kafka-sidecar dead-letters replay 7f3a9c21 --dry-run
      kafka-sidecar dead-letters replay orders.billing.dead-letter/3/17
      kafka-sidecar dead-letters replay --all --lambda billing --rate 100
      kafka-sidecar dead-letters replay --from mended.jsonl
      kafka-sidecar dead-letters replay --all --to orders.again
    """
    if wanted.choice.names + everything + (file is not None) != 1:
        raise click.UsageError("which letters? Name some (WHICH), or give --all, or --from FILE")
    from sidecar.dead_letters.replay_run import Manner  # noqa: PLC0415 - Kafka's client

    with _mended(file) as mended, session(path) as one:
        choice = wanted.choice if mended is None else wanted.choice._replace(places=mended.places)
        if mended is not None and not choice.places:
            say(f"{file} has no letters")
            return
        contents = one.read(Wanted(choice, wanted.topic))
        steps = replay_plan(contents, choice)
        manner = Manner(to, rate, keep_timestamps, not no_history, *([] if mended is None else [mended.content]))
        _replay(one, contents, steps, manner, dry_run=dry_run, assumed=yes)


@click.command()
@click.argument("letter", metavar="TOPIC/PARTITION/OFFSET")
@_to
@_keep
@_no_history
@yes
@click.pass_obj
def edit(path: Path, letter: str, to: str | None, keep_timestamps: bool, no_history: bool, yes: bool) -> None:
    """Change the value of a letter's record in an editor, and replay it.

    The editor is $VISUAL or $EDITOR. JSON is laid out for it, and written without white space if it had none. If
    nothing is changed, nothing is replayed. To change keys, headers or binary values: `export` and `replay --from`.

    \b
    Example:
      kafka-sidecar dead-letters edit orders.billing.dead-letter/3/17
    """
    from sidecar.commands.dead_letters.editor import edited, one_place  # noqa: PLC0415 - Kafka's client
    from sidecar.dead_letters.replay_run import Manner  # noqa: PLC0415 - Kafka's client

    place = one_place(letter)
    choice = Choice(frozenset({place}))
    with session(path) as one:
        contents = one.read(Wanted(choice, None))
        if place in contents.replayed:
            raise click.ClickException(f"{place} was replayed already")
        content = edited(one.reader.fetch([contents.letters[place]])[place])
        if content is None:
            say("nothing was changed, and nothing is replayed")
            return
        # Of several letters of one record, the plan may take another one than that which was named.
        steps = replay_plan(contents, choice)
        manner = Manner(to, None, keep_timestamps, not no_history, lambda _: content)
        _replay(one, contents, steps, manner, dry_run=False, assumed=yes)


def _replay(
    one: Session, contents: Contents, steps: Sequence[Step], manner: Manner, *, dry_run: bool, assumed: bool
) -> None:
    if not steps:
        say("nothing to replay: no such dead letter is open")
        return
    checked(steps, manner.to, one.known)
    say(plan_text(one.config, steps, manner.to), err=not dry_run)
    if one.cluster.embedded:
        say(WITHOUT_TRANSACTIONS, err=True)
    if dry_run:
        say("dry run: nothing was written")
        return
    confirmed(f"Replay {many(len(steps), 'record', 'records')}?", assumed)
    _run(one, contents, steps, manner)


def _run(one: Session, contents: Contents, steps: Sequence[Step], manner: Manner) -> None:
    from sidecar.dead_letters.replay_run import ReplayRun  # noqa: PLC0415 - Kafka's client

    run = ReplayRun(one.cluster, one.reader, one.known, manner)
    finished = False
    try:
        with _stoppable(), progress("replaying", len(steps)) as advance:
            for topic in sorted({step.letter.place.topic for step in steps}):
                mine = [step for step in steps if step.letter.place.topic == topic]
                run.run(topic, mine, contents, advance)
        finished = True
    except KeyboardInterrupt:
        raise click.ClickException("stopped; start the command again to replay the rest") from None
    finally:
        others = f"; another replay had done {run.done_by_others}" if run.done_by_others else ""
        say(f"replayed {run.replayed} of {many(len(steps), 'record', 'records')}{others}", err=not finished)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C: an open transaction is aborted, since it would hide later records from consumers."""

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _mended(file: Path | None) -> Iterator[MendedFile | None]:
    if file is None:
        yield None
        return
    try:
        with MendedFile(file) as mended:
            yield mended
    except Malformed as error:
        raise click.ClickException(visible(str(error))) from None
    except OSError as error:
        raise click.ClickException(visible(f"{file} cannot be read: {error.strerror}")) from None
