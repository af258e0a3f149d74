"""The output of `resume`, `pause` and `seek`."""

from __future__ import annotations

from sdk_python.protocol import admin_pb2 as pb
from sidecar.commands.offset_spec import OffsetSpec
from sidecar.commands.target import Target

_STILL = {pb.PARTITION_STATE_HALTED: "halted", pb.PARTITION_STATE_PAUSED: "paused"}


def resumed(target: Target, answer: pb.ResumeResponse) -> str:
    """The answer to `resume`: the offset from which the partition goes on."""
    left_out = f", leaving out offset {answer.skipped}" if answer.HasField("skipped") else ""
    return f"{target} goes on from offset {answer.from_offset}{left_out}"


def paused(target: Target, answer: pb.PauseResponse) -> str:
    """The answer to `pause`: how long the pause holds, and which command ends it."""
    return (
        f"{target} stands still. It goes on from offset {answer.from_offset} with: kafka-sidecar resume {target}\n"
        "The pause holds as long as this sidecar owns the partition."
    )


def sought(target: Target, to: OffsetSpec, answer: pb.SeekResponse) -> str:
    """The answer to `seek`: the new and the old offset, and what happens to the records between them."""
    still = _STILL.get(answer.state)
    lines = [
        f"{target} {'will go' if still else 'goes'} on from offset {answer.from_offset}; {_compared(answer)}",
    ]
    if to.instant is not None:
        lines.append(f"The time was understood as {to.instant}.")
    if still:
        lines.append(f"It is still {still}; this lets it go on: kafka-sidecar resume {target}")
    return "\n".join(lines)


def _compared(answer: pb.SeekResponse) -> str:
    # "About", because a transaction's markers have offsets too, and compaction leaves gaps.
    moved = answer.from_offset - answer.was_at
    if moved == 0:
        return "that is where it was"
    many = "about 1 record is" if abs(moved) == 1 else f"about {abs(moved)} records are"
    return f"it was at {answer.was_at}, so {many} {'handled again' if moved < 0 else 'left out'}"
