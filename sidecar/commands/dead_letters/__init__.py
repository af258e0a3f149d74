"""`kafka-sidecar dead-letters`: what to do about records that a lambda could not process.

The commands talk to Kafka themselves, with the config's `kafka` section: no sidecar needs to run.
"""

import click

from sidecar.commands.dead_letters.purges import purge
from sidecar.commands.dead_letters.reads import export, list_, show
from sidecar.commands.dead_letters.replays import edit, replay


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at dead letters, replay them, and delete them.

    A dead letter is a record that a lambda with `on_critical: dead-letter` could not process. These commands talk to
    Kafka with the config file's `kafka` section. They join no group: looking never moves anything.

    WHICH names letters: one as TOPIC/PARTITION/OFFSET, or all with a fingerprint, as `list` shows them. Without it,
    all letters of the config's lambdas are meant.

    \b
    Examples:
      kafka-sidecar dead-letters list                       what failed, by cause
      kafka-sidecar dead-letters show 7f3a9c21              a letter of this cause: record, headers, stack
      kafka-sidecar dead-letters replay 7f3a9c21            after the cause is mended
      kafka-sidecar dead-letters purge --replayed           clean up
    """


for _command in (list_, show, export, edit, replay, purge):
    dead_letters.add_command(_command)
