"""The metadata of commits: what is written is what is read, and nobody's bytes break it."""

import base64

import pytest
from hypothesis import given, strategies as st

from sdk_python.protocol import commit_pb2
from sidecar.cluster.commit_metadata import MAX_BYTES, PREFIX, decode, encode, places_of
from sidecar.mail.facts import Commit, Origin
from sidecar.partitions.vocabulary import Place

ID = "AAAAAAAAAAAAAAAAAAAAAQ"

origins = st.builds(
    Origin,
    st.binary(min_size=16, max_size=16)
    .filter(any)
    .map(lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode()),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**62),
)


@st.composite
def placed(draw: st.DrawFn) -> list[Place]:
    """The places of some lanes."""
    lanes = draw(st.sampled_from([1, 1, 2, 3, 8, 128]))
    lowest = draw(st.integers(0, 2**62))
    above = draw(st.lists(st.integers(0, 2**35 - 1), min_size=lanes, max_size=lanes))
    states = draw(st.lists(st.binary(max_size=2048 // lanes), min_size=lanes, max_size=lanes))
    return [Place(lowest + more - min(above), state) for more, state in zip(above, states, strict=True)]


@given(origins, placed())
def test_what_is_written_is_what_is_read(origin: Origin, places: list[Place]) -> None:
    offset = min(place.offset for place in places)
    metadata = encode(origin, places)
    assert decode(offset, metadata) == Commit(offset, origin, tuple(places))
    assert len(metadata) <= MAX_BYTES


def test_the_most_that_lambdas_can_give_fits() -> None:
    longest = Origin(ID, 2**32 - 1, 2**62)
    for lanes in (1, 2, 7, 128):
        places = [Place(2**35 - 1, b"x" * (2048 // lanes))] * (lanes - 1) + [Place(0, b"x" * (2048 // lanes))]
        metadata = encode(longest, places)
        assert len(metadata) <= MAX_BYTES
        assert decode(0, metadata).places == tuple(places)


def test_beyond_what_fits_the_origin_alone_is_written() -> None:
    origin = Origin(ID, 2)
    metadata = encode(
        origin, [Place(2**62, b"x" * 16)] * 127 + [Place(5, b"x" * 16)] + [Place(2**60, b"x" * 16)] * 100
    )
    assert decode(5, metadata) == Commit(5, origin, (Place(5),))


def test_nothing_to_say_is_no_metadata() -> None:
    assert encode(None, [Place(5)]) == ""
    assert decode(5, encode(None, [Place(5, b"state")])).places == (Place(5, b"state"),)


def test_no_id_is_kept_as_none() -> None:
    assert decode(1, encode(Origin("", 3), [Place(1)])) == Commit(1, Origin("", 3), (Place(1),))


@pytest.mark.parametrize("metadata", [None, "", "somebody's", PREFIX + "!", PREFIX + "AAA", "kafka-sidecar/2:CgA="])
def test_metadata_that_is_not_ours_says_nothing(metadata: str | None) -> None:
    assert decode(3, metadata) == Commit(3, None)


def test_an_id_of_another_length_is_none() -> None:
    assert decode(3, PREFIX + "CgNhYmM=") == Commit(3, Origin("", 0), (Place(3),))


@pytest.mark.parametrize(
    "message",
    [
        commit_pb2.CommitMetadata(lanes=2),
        commit_pb2.CommitMetadata(lanes=2, lane_offsets=[0]),
        commit_pb2.CommitMetadata(lanes=2, lane_offsets=[0, 1], states=[b"one"]),
        commit_pb2.CommitMetadata(states=[b"one", b"two"]),
        commit_pb2.CommitMetadata(lanes=2**32 - 1, lane_offsets=[0]),
    ],
)
def test_places_that_do_not_fit_together_say_nothing(message: commit_pb2.CommitMetadata) -> None:
    metadata = PREFIX + base64.b64encode(message.SerializeToString()).decode()
    assert decode(3, metadata) == Commit(3, Origin("", 0))


@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    found = decode(3, PREFIX + base64.b64encode(data).decode())
    assert all(place.offset >= 3 for place in found.places)


def test_another_number_of_lanes_goes_on_from_the_lowest_without_states() -> None:
    places = (Place(7, b"a"), Place(5, b"b"))
    assert places_of(5, places, 2) == places
    assert places_of(5, places, 1) == (Place(5),)
    assert places_of(5, places, 3) == (Place(5), Place(5), Place(5))
    assert places_of(5, (), 2) == (Place(5), Place(5))
