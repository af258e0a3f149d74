"""Answers calls as the sidecar does, unless a script does it."""

from __future__ import annotations

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.conformance import answers
from sidecar.conformance.desk import Call
from sidecar.conformance.host import Host
from sidecar.conformance.trace import Trace

FORBIDDEN = "forbidden"
"""The topic that the lambda may not write to."""


def answer_by_rule(host: Host, trace: Trace, log: answers.Log) -> None:
    """Give the desks of a host their rules. What is produced goes to ``log``."""

    def checkpoint(call: Call) -> None:
        assert isinstance(call.request, pb.CheckpointRequest)
        call.answer(answers.checkpoints(call.request, trace.lives, trace.now))

    def error(call: Call) -> None:
        assert isinstance(call.request, pb.ErrorRequest)
        life = trace.lives.leases.get(call.request.lease)
        again = life is not None and len(life.errors) > 1 and life.acknowledged
        call.answer(answers.error(call.request, trace.lives, again=again))

    def produce(call: Call) -> None:
        request = call.request
        assert isinstance(request, pb.ProduceRequest)
        life = trace.lives.leases.get(request.lease)
        count = len(request.values)
        if life is None or life.dead(trace.now):
            call.answer(answers.nothing_written(count, pb.PRODUCE_OUTCOME_STALE_LEASE, "the lease is dead"))
        elif FORBIDDEN in request.topics:
            text = f"the topic {FORBIDDEN!r} is not in `produce`"
            call.answer(answers.nothing_written(count, pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED, text))
        else:
            call.answer(log.write(request))

    host.checkpoints.rule = checkpoint
    host.errors.rule = error
    host.produces.rule = produce
