"""`dead-letters purge`, which deletes letters for good."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from sidecar.commands.dead_letters.options import about_letters, confirmed, yes
from sidecar.commands.dead_letters.session import Wanted, session
from sidecar.commands.say import say
from sidecar.commands.show import aligned, many
from sidecar.dead_letters.contents import Partition
from sidecar.dead_letters.plan import Cut, purge_plan


@click.command()
@about_letters
@click.option("--replayed", is_flag=True, help="Only those that were replayed.")
@click.option(
    "--all", "everything", is_flag=True, help="All; without --lambda also records that are no dead letters."
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted. Delete nothing.")
@yes
@click.pass_obj
def purge(path: Path, wanted: Wanted, replayed: bool, everything: bool, dry_run: bool, yes: bool) -> None:
    """Delete letters for good.

    Kafka deletes from the beginning of a partition only. So a letter stays while there is one before it, in its
    partition, that was not chosen; the command says how many stay. Letters that arrive meanwhile always stay.

    \b
    Examples:
      kafka-sidecar dead-letters purge --replayed
      kafka-sidecar dead-letters purge 7f3a9c21 --dry-run
      kafka-sidecar dead-letters purge --all --topic orders.billing.dead-letter
    """
    named = wanted.choice.names
    if named == everything and not (replayed and not named):
        raise click.UsageError("which letters? Name some (WHICH), or give --replayed, or --all")
    if everything and replayed:
        raise click.UsageError("--all and --replayed exclude each other: leave one of them out")
    with session(path) as one:
        if one.cluster.embedded:
            raise click.ClickException(
                "the embedded broker cannot delete records; it forgets all of them when it ends"
            )
        contents = one.read(wanted)
        # Of a lambda's letters, those of other lambdas and whatever else is there have to stay.
        others_too = everything and wanted.choice.lambda_name is None
        cuts = purge_plan(contents, wanted.choice, replayed_only=replayed, everything=others_too)
        say(_text(cuts), err=not dry_run)
        going = {where: cut.before for where, cut in cuts.items() if cut.letters}
        if dry_run or not going:
            say("dry run: nothing was deleted" if dry_run else "nothing was deleted")
            return
        count = sum(cut.letters for cut in cuts.values())
        lost = sum(cut.not_replayed for cut in cuts.values())
        never = f", of which {lost} were never replayed" if lost else ""
        confirmed(f"Delete {many(count, 'dead letter', 'dead letters')} for good{never}?", yes)
        from sidecar.dead_letters.purging import purge as delete  # noqa: PLC0415 - Kafka's client

        delete(one.cluster, going)
    say(f"deleted {many(count, 'dead letter', 'dead letters')}")


def _text(cuts: Mapping[Partition, Cut]) -> str:
    if not cuts:
        return "no such dead letters"
    rows = [("PARTITION", "DELETED", "NOT REPLAYED", "STAYING")]
    rows += [
        (f"{topic}/{partition}", str(cut.letters), str(cut.not_replayed), str(cut.staying))
        for (topic, partition), cut in cuts.items()
    ]
    staying = sum(cut.staying for cut in cuts.values())
    lines = [*aligned(rows)]
    if staying:
        lines.append(
            f"{many(staying, 'chosen letter stays', 'chosen letters stay')}: something that was not chosen is before "
            "them, and Kafka deletes from the beginning of a partition only"
        )
    return "\n".join(lines)
