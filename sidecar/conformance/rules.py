"""The rules of the protocol by their numbers in docs/protocol.md. Numbers are never reused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RULES: Final[dict[int, str]] = {
    1: "`process_id` is random for each start of a process, and the same on all its streams.",
    2: "A stream begins with an Offer that names the lambda, the process and version 1, within `offer_timeout_ms`.",
    3: "A process sends Available when its resources are loaded, which it does once.",
    4: "A process keeps one spare stream for each lambda name, and opens the next one only after Assigned.",
    5: "Ready, or Closed(DECLINED) in its place, answers Assigned within `ready_timeout_ms`.",
    6: "The lambda of a partition is created only after this process's old lambda of the same partition has closed.",
    7: "Frames come in order, with the stream's own lease; Closed is the last one, and a half-close follows it.",
    8: "After a stream broke, its handlers are stopped and its lambda is closed before the process offers again.",
    9: "A broken stream ends its own partition, and no other.",
    10: "Nothing is sent with a dead lease: after the end of the stream, an Error, or STALE_LEASE.",
    11: "A client always reads, whatever its handlers do.",
    12: "A record reaches the handler as it is in Kafka: offset, timestamp, key, value, and headers as bytes.",
    13: "After Revoked no handler begins; what was delivered and not begun is dropped.",
    14: "Closed(REVOKED) answers Revoked within the deadline: handlers are cancelled at 70%, Closed is sent at 90%.",
    15: "Revoked with LOST, SEEK or ABORTED: Closed follows within `close_timeout_ms`, and no checkpoint.",
    16: "A checkpoint names an offset that the lambda has checkpointed, and never a lower one than before.",
    17: "One call of Checkpoint is under way at a time, with the latest offset of each lease that moved.",
    18: "A checkpoint is sent at once when a quarter of a window is not told; otherwise calls are some 50 ms apart.",
    19: "A checkpoint whose call failed, or whose outcome is unknown, is sent again.",
    20: "After BEYOND_DELIVERED the checkpoint is sent again with each Batch, bounded by its last offset.",
    21: "The last checkpoint of a lease travels in Closed, or in Error.",
    22: "`completed_beyond` is sent when it changes, and 0 when the checkpoint has caught up.",
    23: "`last_checkpoint` in an Error with an offset lies below that offset.",
    24: "After an Error no checkpoint of its lease follows, in no call and in no Closed.",
    25: "Closed(ERROR) follows the response to Error, within `close_timeout_ms`.",
    26: "When Error gets no response, no Closed follows: the stream breaks.",
    27: "RESTART, CRITICAL and a failed creation are told by Error; REPORT ends nothing.",
    28: "One call of Produce is under way for each lease; what comes meanwhile goes with the next one, in order.",
    29: "A checkpoint waits for the outcome of all that was produced before it was made.",
    30: "A failure that nobody takes ends the lambda: Error RESTART with topic and reason, and no checkpoint.",
    31: "A request keeps to the limits of Welcome; a record that can never fit fails at once and is not sent.",
    32: "BUSY: the same records are sent again after `retry_after_ms`, once and in their order.",
    33: "TOPIC_NOT_ALLOWED, for one topic of several: the records of the other topics are sent again.",
    34: "A call that ended without an answer has failed, and is not sent again.",
    35: "A record is copied as it came: null is not empty, header names are bytes.",
    36: "While much waits to be written, no handler is called.",
    37: "Pauses are numbered from 1 in each lease.",
    38: "A Pause with an offset: what comes from there on is dropped until the Resumed of the last Pause.",
    39: "A Pause without an offset: what comes before Resumed counts, and is handled once, after it.",
    40: "Revoked ends a pause.",
    41: "At SIGTERM what runs is finished, Closed(STOPPED) ends each partition's stream, and the exit code is 0.",
    42: "The spare stream ends with its process.",
    43: "At most 64 streams share a connection, and the calls have another one.",
    44: "Keep-alive pings notice a sidecar that hangs within some 15 s, and come at most once a second.",
    45: "After a broken stream a process offers at once, then after 0.1 s doubling to 2 s, with jitter.",
    46: "A refused first Offer ends the process with an error; a later one is repeated after 5 to 30 s.",
    47: "A client dials `host:port` or `unix:///path`, without a proxy.",
    48: "Every call carries the token; with TLS the client trusts the CA alone, and shows its certificate.",
    49: "A client receives messages as large as its Offer says.",
    50: "Unknown fields, frames and capabilities are ignored; an unknown number, or 0, of an enum is never success.",
    51: "The settings of Welcome reach the lambda, with the overrides of the environment.",
    52: "`handled` tells operators of the last record whose handler returned, also without a checkpoint.",
    53: "An entry's `state` is the last one that the lambda gave with a checkpoint at or below the entry's `offset`.",
    54: "The lambda gets the state of Assigned. A state longer than `max_state_bytes` is refused in the client.",
    55: "Code that waits for an offset to be committed goes on when a Committed covers it, or fails with the lease.",
    56: "Progress is sent at once, then at most once a second with the latest text.",
    57: "What a client knows of a partition it keeps by its lease, never by topic and partition alone.",
    58: "A request with `commit` has no record that was produced after that checkpoint was made.",
    59: "A checkpoint is sent only when every record that was produced before it was made is answered.",
    60: "HELD is no failure; where the record will be is not known. TOO_MUCH_HELD is one.",
    61: "`sources` has the offset that the lambda named for each record, -1 where it named none.",
}


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that a client broke."""

    rule: int
    text: str
    """What was seen."""

    def __str__(self) -> str:
        return f"R{self.rule}: {self.text}"


class BrokenError(Exception):
    """Ends the script of a case: the client broke a rule."""

    def __init__(self, rule: int, text: str) -> None:
        super().__init__(f"R{rule}: {text}")
        self.broken = Broken(rule, text)
