"""The operator's commands that call running sidecars; `resume`, `pause` and `seek` are here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sidecar.commands.fleet.addresses import Fleet, Sidecar
from sidecar.commands.offset_spec import OffsetSpec, parse_offset_spec
from sidecar.commands.reaching import asks_sidecars
from sidecar.commands.say import say
from sidecar.commands.status.command import status
from sidecar.commands.status.explaining import explain
from sidecar.commands.target import Target, parse_target
from sidecar.commands.top.command import top

if TYPE_CHECKING:  # protobuf loads only when it is needed
    from sdk_python.protocol import admin_pb2 as pb

T = TypeVar("T")


def _parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str], Any]:
    """A click callback that parses a value with ``parse``, whose ``ValueError`` says what was expected."""

    def callback(context: click.Context, parameter: click.Parameter, value: str) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return callback


_target = click.argument("target", metavar="LAMBDA/TOPIC/PARTITION[.LANE]", callback=_parsed(parse_target))


@click.command()
@_target
@click.option("--skip", is_flag=True, help="Leave out the record that failed.")
@asks_sidecars
def resume(fleet: Fleet, target: Target, skip: bool) -> None:
    """Let a halted or paused partition go on.

    It goes on after its last checkpoint. The record that halted it comes again, so mend the cause first, or give
    --skip: then this one record is never handled. Without a lane all lanes of the partition go on; --skip needs one.

    \b
    Examples:
      kafka-sidecar resume deli/rawdeltas/3
      kafka-sidecar resume deli/rawdeltas/3 --skip
      kafka-sidecar resume deli/rawdeltas/3.5 --skip
    """
    from sidecar.commands import answers, client  # noqa: PLC0415 - gRPC loads only when it is needed

    def send(one: Sidecar) -> pb.ResumeResponse:
        return client.resume(one.address, fleet.token, target, skip, one.tls(fleet.tls))

    say(_ordered(fleet, target, send, lambda answer: answers.resumed(target, answer)))


@click.command()
@_target
@click.option("--reason", metavar="TEXT", default="", help="Why; `status` shows it.")
@asks_sidecars
def pause(fleet: Fleet, target: Target, reason: str) -> None:
    """Let a partition stand still until `resume`.

    Its lambda may finish what it has in hand; when the command ends, nothing of the partition is in work. The pause
    holds as long as this sidecar owns the partition.

    \b
    Example:
      kafka-sidecar pause deli/rawdeltas/3 --reason "database migration"
    """
    from sidecar.commands import answers, client  # noqa: PLC0415 - gRPC loads only when it is needed

    def send(one: Sidecar) -> pb.PauseResponse:
        return client.pause(one.address, fleet.token, target, reason, one.tls(fleet.tls))

    say(_ordered(fleet, target, send, lambda answer: answers.paused(target, answer)))


@click.command()
@_target
@click.option(
    "--to",
    required=True,
    callback=_parsed(parse_offset_spec),
    metavar="OFFSET|TIMESTAMP|earliest|latest",
    help="An offset; a time in ISO 8601, which is local time without a zone; @ and milliseconds since the epoch; "
    "earliest: the oldest record that is left; latest: after the newest.",
)
@asks_sidecars
def seek(fleet: Fleet, target: Target, to: OffsetSpec) -> None:
    """Move a partition to another offset, back or forth.

    Back: records are handled again. Forth: records are left out, and handled by nobody. What its lambda has in hand
    no longer counts, and the new offset is committed when the command ends. To a time: the first record that is not
    older. A halted or paused partition stays so until `resume`.

    \b
    Examples:
      kafka-sidecar seek deli/rawdeltas/3 --to 1234
      kafka-sidecar seek deli/rawdeltas/3 --to 2026-11-24T14:05:00Z
      kafka-sidecar seek deli/rawdeltas/3 --to @1790000000000
      kafka-sidecar seek deli/rawdeltas/3 --to earliest
    """
    from sidecar.commands import answers, client  # noqa: PLC0415 - gRPC loads only when it is needed

    def send(one: Sidecar) -> pb.SeekResponse:
        return client.seek(one.address, fleet.token, target, to, one.tls(fleet.tls))

    say(_ordered(fleet, target, send, lambda answer: answers.sought(target, to, answer)))


def _ordered(fleet: Fleet, target: Target, send: Callable[[Sidecar], T], shown: Callable[[T], str]) -> str:
    """Send an order to the owner of ``target``. Returns what it answered, and where it was sent, as text."""
    from sidecar.commands.fleet.orders import OrderError, send_to_owner  # noqa: PLC0415 - gRPC

    try:
        owner, answer = send_to_owner(fleet, target, send, lambda text: say(text, err=True))
    except OrderError as error:
        raise click.ClickException(str(error)) from None
    where = f"\nDone at {owner.address}, which owns it." if fleet.several else ""
    return f"{shown(answer)}{where}"


COMMANDS: tuple[click.Command, ...] = (status, explain, top, resume, pause, seek)
