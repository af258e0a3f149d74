"""Answers calls as the sidecar does, unless a script does it."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers
from sidecar.conformance.desk import Call
from sidecar.conformance.host import Host
from sidecar.conformance.lives import Life
from sidecar.conformance.trace import Trace
from sidecar.conformance.transactions import Transactions

FORBIDDEN = "forbidden"
"""The topic that the lambda may not write to."""


class Answering:
    """The rules of a host's desks. What is produced goes to the log, at once or with a transaction."""

    def __init__(self, host: Host, trace: Trace) -> None:
        self.log = answers.Log()
        """What is visible of all that the client has produced."""
        self.transactions = Transactions(self.log)
        self._trace = trace
        host.checkpoints.rule = self._checkpoint
        host.errors.rule = self._error
        host.produces.rule = self._produce

    def closed(self, life: Life) -> None:
        """Take the last checkpoint of a lease whose Closed has come, and drop what waits for another one."""
        if life.closed is None or not life.exactly_once:
            return
        last = life.closed.last_checkpoint
        if last.HasField("offset") and last.offset == life.accepted:  # it counted
            self._commit(life, last)
        self.transactions.drop(life.lease)

    def _checkpoint(self, call: Call) -> None:
        assert isinstance(call.request, pb.CheckpointRequest)
        response = answers.checkpoints(call.request, self._trace.lives, self._trace.now)
        for entry, result in zip(call.request.entries, response.results, strict=True):
            life = self._trace.lives.leases.get(entry.lease)
            if life is not None and answers.is_accepted(result):
                self._commit(life, entry)
        call.answer(response)

    def _error(self, call: Call) -> None:
        request = call.request
        assert isinstance(request, pb.ErrorRequest)
        life = self._trace.lives.leases.get(request.lease)
        again = life is not None and len(life.errors) > 1 and life.acknowledged
        response = answers.error(request, self._trace.lives, again=again)
        if life is not None and response.outcome not in (pb.ERROR_OUTCOME_STALE_LEASE, pb.ERROR_OUTCOME_REPORTED):
            self._commit(life, request.last_checkpoint)
            self.transactions.drop(life.lease)
        call.answer(response)

    def _produce(self, call: Call) -> None:
        request = call.request
        assert isinstance(request, pb.ProduceRequest)
        life = self._trace.lives.leases.get(request.lease)
        count = len(request.values)
        if life is None or life.dead(self._trace.now):
            call.answer(answers.stale(request))
        elif FORBIDDEN in request.topics:
            text = f"the topic {FORBIDDEN!r} is not in `produce`"
            call.answer(answers.nothing_written(count, pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED, text))
        elif life.exactly_once:
            call.answer(self.transactions.produce(request, life, self._trace.now))
        else:
            call.answer(self.log.write(request))

    def _commit(self, life: Life, entry: pb.CheckpointEntry) -> None:
        """Make a checkpoint visible, if that is what it does under this guarantee."""
        if life.exactly_once and entry.HasField("offset"):
            self.transactions.commit(life.lease, entry.offset)
