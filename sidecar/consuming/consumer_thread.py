"""The thread of one lambda: it owns the Consumer and the partitions' state, and every record passes through it.

Its work is in `Turns`.
"""

import threading
from collections.abc import Callable

from confluent_kafka.admin import AdminClient

from sidecar.cluster.client_log import ClientLog
from sidecar.cluster.committed import CommittedOffsets
from sidecar.cluster.inquiries import Inquiries
from sidecar.config.kafka_properties import Property, offsets_properties
from sidecar.config.lambdas import LambdaConfig
from sidecar.consuming.lambda_state import new_lambda_state
from sidecar.consuming.turns import Turns
from sidecar.logs import get_logger
from sidecar.mail.boxes import Mailbox, Outbox
from sidecar.partitions.vocabulary import Policy
from sidecar.producing.dead_letters import DeadLetters
from sidecar.producing.transactions import Transactions


class ConsumerThread(threading.Thread):
    """Consumes one lambda's topics and serves its partitions.

    Only ``mailbox`` may be used by other threads.
    """

    def __init__(
        self,
        name: str,
        config: LambdaConfig,
        properties: dict[str, Property],
        producer: dict[str, Property],
        transactional: dict[str, Property],
        admin: AdminClient,
        look: Callable[[], None],
        outbox: Outbox,
        ended: Callable[[str, BaseException | None], None],
    ) -> None:
        """``properties`` are the consumer's, ``producer`` the properties of a producer for the same broker, and
        ``transactional`` those of a transactional one, for exactly-once.

        ``admin`` asks the broker; ``look`` asks for the topics now (`TopicWatch.look`). ``ended`` is called in this
        thread when it ends, with the lambda's name and the error that ended it; None: it was stopped.
        """
        super().__init__(name=f"consumer-{name}", daemon=True)
        self.mailbox = Mailbox()
        self._lambda = name
        self._outbox = outbox
        self._ended = ended
        self._log = get_logger(__name__).bind(lambda_=name)
        client_log = ClientLog(get_logger("librdkafka").bind(lambda_=name))
        self._offsets = CommittedOffsets(name, offsets_properties(properties), self.mailbox, client_log)
        isolation = str(properties.get("isolation.level", ""))
        inquiries = Inquiries(admin, self._offsets, isolation, self.mailbox)
        self._dead_letters: DeadLetters | None = None
        if Policy(config.on_critical) is Policy.DEAD_LETTER:
            self._dead_letters = DeadLetters(
                name,
                config.group,
                config.dead_letter_topic,
                producer,
                self.mailbox,
                writes=not config.exactly_once,
            )
        self._transactions: Transactions | None = None
        if config.exactly_once:
            self._transactions = Transactions(name, transactional, self.mailbox)
        state = new_lambda_state(
            name,
            config,
            properties,
            self.mailbox,
            outbox,
            inquiries,
            self._dead_letters,
            look,
            client_log,
            self._log,
            writer=self._transactions,
        )
        self._turns = Turns(state)

    def run(self) -> None:
        """Run turns until Stop. An unexpected error ends the thread, and ``ended`` gets it."""
        try:
            self._turns.begin()
            self._offsets.start()
            if self._dead_letters is not None:
                self._dead_letters.start()
            if self._transactions is not None:
                self._transactions.start()
            self._turns.run()
            self._turns.shut_down(self._stop_helpers)
        except BaseException as error:  # whatever it is, the process must be told
            self._log.exception("the consumer thread broke")
            self._outbox.flush()
            self._turns.leave_broken(self._stop_helpers)
            self._ended(self._lambda, error)
        else:
            self._ended(self._lambda, None)

    def _stop_helpers(self) -> None:
        self._offsets.stop()
        if self._dead_letters is not None:
            self._dead_letters.stop()
        if self._transactions is not None:
            self._transactions.stop()
