"""The objects of a lambda that outlive its client: the partitions' state, the counters, the frames in flight.

Owned by the lambda's consumer thread.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from structlog.typing import FilteringBoundLogger

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.inquiries import Inquiries
from sidecar.cluster.origins import Origins
from sidecar.config.kafka_properties import Property
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.commit_refusals import CommitRefusals
from sidecar.consuming.commits import Commits
from sidecar.consuming.connection import Connection
from sidecar.consuming.fetch_buffer import FetchBuffer
from sidecar.consuming.fetching import Fetching
from sidecar.consuming.held_letters import HeldLetters
from sidecar.consuming.in_flight import InFlight
from sidecar.consuming.places import Places
from sidecar.consuming.problems import Problems
from sidecar.consuming.rebalance_log import RebalanceLog
from sidecar.consuming.rounds import Rounds
from sidecar.consuming.sender import Sender
from sidecar.consuming.states_kept import StatesKept
from sidecar.consuming.subscription import Subscription
from sidecar.consuming.transacted import TransactedCommits, Writer
from sidecar.mail.boxes import Mailbox, Outbox
from sidecar.measured import ThreadMeasure
from sidecar.partitions.table import PartitionTable
from sidecar.partitions.vocabulary import Limits, Policy
from sidecar.producing.dead_letters import DeadLetters


@dataclass(frozen=True)
class LambdaState:
    """The objects of a lambda that outlive its client."""

    name: str
    config: LambdaConfig
    properties: Mapping[str, Property]
    """The consumer's."""
    table: PartitionTable
    buffer: FetchBuffer
    fetching: Fetching
    origins: Origins
    inquiries: Inquiries
    subscription: Subscription
    connection: Connection
    client_log: ClientLog
    commits: Commits
    transacted: TransactedCommits | None
    """The same with exactly-once; None: commits are no transactions."""
    measure: ThreadMeasure
    refusals: CommitRefusals
    in_flight: InFlight
    places: Places
    sender: Sender
    problems: Problems
    rebalances: RebalanceLog
    mailbox: Mailbox
    outbox: Outbox
    log: FilteringBoundLogger
    jitter: Callable[[], float]
    """Gives numbers from 0 to 1."""


def new_lambda_state(
    name: str,
    config: LambdaConfig,
    properties: Mapping[str, Property],
    mailbox: Mailbox,
    outbox: Outbox,
    inquiries: Inquiries,
    dead_letters: DeadLetters | None,
    look: Callable[[], None],
    client_log: ClientLog,
    log: FilteringBoundLogger,
    *,
    writer: Writer | None = None,
    new_lease: Callable[[], str] = lambda: secrets.token_urlsafe(18),
    jitter: Callable[[], float] = random.random,
    clock: Callable[[], float] = monotonic,
) -> LambdaState:
    """A lambda without partitions.

    ``properties`` are the consumer's; ``dead_letters``: None if the policy is another one; ``look`` asks for
    the topics now (`TopicWatch.look`); ``writer``: the transactions thread, with exactly-once; ``jitter`` gives
    numbers from 0 to 1, ``clock`` seconds.
    """
    table = PartitionTable(limits_of(config), new_lease, jitter)
    buffer = FetchBuffer()
    fetching = Fetching()
    places = Places(table, buffer, fetching)
    origins = Origins()
    problems = Problems(log, clock)
    refusals = CommitRefusals(table, problems, log, clock)
    in_flight = InFlight(table)
    measure = ThreadMeasure()
    common: dict[str, Any] = {
        "table": table,
        "buffer": buffer,
        "fetching": fetching,
        "places": places,
        "origins": origins,
        "interval": config.checkpoint.interval,
        "refusals": refusals,
        "states_kept": StatesKept(inquiries, log),
        "log": log,
        "measure": measure,
    }
    transacted = None
    if writer is not None:
        rounds = Rounds(config.transaction_interval)
        held_letters = HeldLetters(dead_letters.look_anew if dead_letters is not None else lambda: None)
        transacted = TransactedCommits(writer, outbox, problems, rounds, held_letters, **common)
    return LambdaState(
        name=name,
        config=config,
        properties=properties,
        table=table,
        buffer=buffer,
        fetching=fetching,
        origins=origins,
        inquiries=inquiries,
        subscription=Subscription(config, problems, log),
        connection=Connection(problems, log, look, inquiries.ends, client_log),
        client_log=client_log,
        commits=transacted or Commits(**common),
        transacted=transacted,
        measure=measure,
        refusals=refusals,
        in_flight=in_flight,
        places=places,
        sender=Sender(table, buffer, in_flight, places, config, outbox, dead_letters),
        problems=problems,
        rebalances=RebalanceLog(),
        mailbox=mailbox,
        outbox=outbox,
        log=log,
        jitter=jitter,
    )


def limits_of(config: LambdaConfig) -> Limits:
    """The limits of the config, for the partitions' table."""
    return Limits(
        window_messages=config.window.messages,
        window_bytes=config.window.bytes,
        window_span=config.window.span,
        leave_group_after=config.leave_group_after,
        stall_after=config.stall_after,
        deadline=config.deadline,
        policy=Policy(config.on_critical),
        max_restarts=config.max_restarts,
        max_state_bytes=config.max_state_bytes,
        exactly_once=config.exactly_once,
        lanes=config.lanes,
        hand_over_drain=config.shutdown_drain,
    )
