"""Marks name the letters that were replayed."""

import pytest
from hypothesis import given, strategies as st

from sidecar.dead_letters.letter import Headers, Place, Stored
from sidecar.dead_letters.marks import HEADER, REPLAYED, mark_records, marked
from tests.unit.dead_letters.letters import DEAD, NOW, contents, letter, mark, stored

MARK: Headers = ((HEADER, REPLAYED),)


@given(st.sets(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 2), st.integers(0, 60))))
def test_a_mark_names_exactly_its_letters(places: set[tuple[str, int, int]]) -> None:
    letters = {Place(*place) for place in places}
    found: set[Place] = set()
    for topic, partition, value, headers in mark_records(letters, NOW):
        named = marked(Stored(Place(topic, partition, 1000), 0, None, value, headers))
        assert named is not None
        assert {place[:2] for place in named} == {(topic, partition)}, "in the partition of its letters"
        found.update(named)
    assert found == letters


def test_a_thousand_neighbours_are_one_stretch() -> None:
    [(*_, value, _)] = mark_records([Place(DEAD, 0, n) for n in range(5, 1005)], NOW)
    assert value == b'{"offsets":[[5,1004]],"at":"%s"}' % NOW.encode()


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"offsets":1}',
        b'{"offsets":[1]}',
        b'{"offsets":[[1]]}',
        b"[" * 10_000,
        b"\xff",
    ],
)
def test_what_cannot_be_read_is_no_mark(value: bytes | None) -> None:
    assert marked(Stored(Place(DEAD, 0, 9), 0, None, value, MARK)) is None


def test_a_mark_cannot_name_what_comes_after_it_and_a_forged_one_takes_no_time() -> None:
    assert marked(Stored(Place(DEAD, 0, 3), 0, None, b'{"offsets":[[-5,9]]}', MARK)) == [
        Place(DEAD, 0, offset) for offset in range(3)
    ]
    far = Stored(Place(DEAD, 0, 2**60), 0, None, b'{"offsets":[[0,1152921504606846976]]}', MARK)
    assert marked(far) is None


def test_a_mark_of_another_kind_is_none() -> None:
    one = Stored(Place(DEAD, 0, 3), 0, None, b'{"offsets":[[0,1]]}', ((HEADER, b"discarded"),))
    assert marked(one) is None


def test_the_contents_of_a_topic() -> None:
    found = contents(stored(0), stored(1), Stored(Place(DEAD, 0, 2), 0, None, b"x", ()), mark(3, Place(DEAD, 0, 1)))
    assert [one.place.offset for one in found.letters.values()] == [0, 1]
    assert [one.place.offset for one in found.open()] == [0]
    assert found.others == [Place(DEAD, 0, 2)]


def test_a_dead_letter_with_a_mark_s_header_is_a_letter() -> None:
    """A lambda that consumes dead letters may fail at a mark."""
    found = contents(stored(0), stored(1, value=b'{"offsets":[[0,0]]}', headers=MARK))
    assert len([*found.open()]) == 2
    assert letter(1, headers=MARK).place in found.letters
