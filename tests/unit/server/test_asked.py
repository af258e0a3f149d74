"""The call Produce with the native extension: what it reads, and what the fallback reads for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sdk_python.protocol import lambda_pb2 as pb
from sidecar.config.lambdas import LambdaConfig
from sidecar.producing.lambda_producer import LambdaProducer
from sidecar.producing.outcomes import Written
from sidecar.records.extension import extension
from sidecar.server import producing
from sidecar.server.frames import InvalidFrameError
from sidecar.server.producing import InvalidColumnsError, asked
from sidecar.server.runtime import LambdaRuntime

from .wire import Client, Wire, lambda_config

if TYPE_CHECKING:
    from sidecar.records import _native as native

pytestmark = pytest.mark.skipif(extension() is None, reason="the native extension is not there")

REQUEST = pb.ProduceRequest(lease="L1", topics=["out"], values=[b"a", b"b"], partitions=[0, -1])
UNPACKED = b"\x0a\x02L1\x12\x03out\x2a\x01a\x2a\x01b\x40\x00\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
"""The same, with one field for each number."""
DISORDERED = b"\x2a\x01a\x0a\x02L0\x0a\x02L1\x12\x03out\x2a\x01b\x42\x01\x00\x42\x0a" + UNPACKED[-10:]
"""The same, with fields in another order, and the lease twice."""


class Bin(LambdaProducer):
    """A lambda producer that answers that the first record of a request is not written, or all are."""

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__("deli", {})
        self.fails = fails
        self.sizes: list[tuple[int, int]] = []

    async def write_request(self, request: native.Request) -> Written | bytes:
        self.sizes.append((len(request), request.size))
        written = Written([2, 1], [-1, 0], [-1, 7], ["x" * 500, ""])
        return written if self.fails else pb.ProduceResponse(offsets=[1, 2]).SerializeToString()


@pytest.mark.parametrize("data", [REQUEST.SerializeToString(), UNPACKED, DISORDERED])
async def test_any_form_of_a_request_is_read(data: bytes) -> None:
    assert pb.ProduceRequest.FromString(data) == REQUEST
    made = asked(data)
    assert (made.lease, [*made.topics], made.count) == ("L1", ["out"], 2)
    to = Bin()
    assert pb.ProduceResponse.FromString(await made.write(to)).offsets == [1, 2]
    assert to.sizes == [(2, REQUEST.ByteSize())]


async def test_fields_of_a_newer_protocol_are_skipped() -> None:
    made = asked(REQUEST.SerializeToString() + b"\xa2\x06\x01a" + b"\xa3\x06\xa4\x06")
    assert made.count == 2


async def test_outcomes_that_are_not_all_written_are_answered_by_the_fallback() -> None:
    answer = pb.ProduceResponse.FromString(await asked(REQUEST.SerializeToString()).write(Bin(fails=True)))
    assert ([*answer.outcomes], [*answer.offsets]) == ([2, 1], [-1, 7])
    assert [len(error) for error in answer.errors] == [producing.MAX_ERROR_BYTES, 0]


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x0a\x01\xff" + UNPACKED, b"\x12\x01\xff" + UNPACKED, b"\x0a\x05a"]
)
def test_bytes_that_are_no_request_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidFrameError, match="bytes that are not this message"):
        asked(data)


def test_a_malformed_request_names_its_lease() -> None:
    with pytest.raises(InvalidColumnsError, match="partitions: 1 entries") as refusal:
        asked(pb.ProduceRequest(lease="L1", topics=["out"], values=[b"", b""], partitions=[0]).SerializeToString())
    assert refusal.value.lease == "L1"


async def test_the_call_is_answered(wire: Wire, client: Client) -> None:
    config: LambdaConfig = lambda_config("deli").model_copy(update={"produce": ("out",)})
    to = Bin()
    wire.hosted["deli"] = LambdaRuntime(config, wire.deli, to)
    await wire.assigned(client, "L1")
    answer = pb.ProduceResponse.FromString(await client.unary("Produce", REQUEST))
    assert [*answer.offsets] == [1, 2]
    refused = pb.ProduceResponse.FromString(
        await client.unary("Produce", pb.ProduceRequest(lease="L1", topics=["other"], values=[b""]))
    )
    assert [*refused.outcomes] == [pb.PRODUCE_OUTCOME_TOPIC_NOT_ALLOWED]
    stale = pb.ProduceResponse.FromString(
        await client.unary("Produce", pb.ProduceRequest(lease="L2", topics=["out"], values=[b""]))
    )
    assert [*stale.outcomes] == [pb.PRODUCE_OUTCOME_STALE_LEASE]
    assert len(to.sizes) == 1
