"""Numbers of the contract that this version does not know."""

from sdk_python.protocol import lambda_pb2 as pb
from sdk_python.protocol.names import name_of


def test_a_known_number_has_its_name_and_another_one_is_shown_as_it_is() -> None:
    assert name_of(pb.RevokeReason, pb.REVOKE_REASON_LOST) == "REVOKE_REASON_LOST"
    assert name_of(pb.RevokeReason, 77) == "77"
