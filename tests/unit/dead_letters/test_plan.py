"""What a replay writes, in which order, and what `purge` can delete."""

import random

import pytest

from sidecar.dead_letters import plan
from sidecar.dead_letters.choice import Choice, chosen, parse_which
from sidecar.dead_letters.letter import Place, Stored
from sidecar.dead_letters.plan import Cut, Step, Target, batches, purge_plan, replay_plan, target
from tests.unit.dead_letters.letters import DEAD, contents, letter, mark, stored

ALL = Choice()


def sources(steps: list[Step]) -> list[tuple[int, int]]:
    return [(step.letter.source.partition, step.letter.source.offset) for step in steps]


def test_the_order_is_that_of_the_sources_not_that_of_the_letters() -> None:
    wanted = [(partition, offset) for partition in range(3) for offset in range(0, 50, 7)]
    mixed = random.Random(7).sample(wanted, len(wanted))
    records = [stored(n, offset, source_partition=partition) for n, (partition, offset) in enumerate(mixed)]
    assert sources(replay_plan(contents(*records), ALL)) == wanted


def test_what_was_replayed_is_left_out() -> None:
    found = contents(stored(0), stored(1), stored(2), mark(3, Place(DEAD, 0, 0), Place(DEAD, 0, 2)))
    assert sources(replay_plan(found, ALL)) == [(0, 1)]
    assert replay_plan(found, chosen([Place(DEAD, 0, 2)])) == []


def test_letters_are_chosen_by_place_and_by_fingerprint() -> None:
    found = contents(*(stored(n, message="a" if n % 2 else "b") for n in range(6)))
    odd = letter(0, message="a").fingerprint
    assert sources(replay_plan(found, chosen([odd]))) == [(0, 1), (0, 3), (0, 5)]
    assert sources(replay_plan(found, chosen([Place(DEAD, 0, 4), odd]))) == [(0, 1), (0, 3), (0, 4), (0, 5)]


def test_two_letters_of_one_record_are_one_step() -> None:
    """A sidecar that is killed between the write and the commit writes the letter again."""
    found = contents(stored(0, 7, failed_at=1.0), stored(1, 8), stored(2, 7, failed_at=2.0, message="again"))
    first, second = replay_plan(found, chosen([Place(DEAD, 0, 0)])), replay_plan(found, chosen([Place(DEAD, 0, 2)]))
    assert first == second == [Step(letter(2, 7, failed_at=2.0, message="again"), (Place(DEAD, 0, 0),))]


@pytest.mark.parametrize(
    "other", [{"value": b"other"}, {"lambda_name": "audit"}, {"group": "g"}, {"topic": "d"}, {"source_topic": "o"}]
)
def test_letters_of_different_records_are_two_steps(other: dict[str, object]) -> None:
    found = contents(stored(0, 7), stored(1, 7, **other))  # type: ignore[arg-type]
    assert [len(step.duplicates) for step in replay_plan(found, ALL)] == [0, 0]


def test_a_record_that_failed_again_after_its_replay_is_open() -> None:
    found = contents(stored(0, 7), mark(1, Place(DEAD, 0, 0)), stored(2, 7))
    assert [step.letter.place.offset for step in replay_plan(found, ALL)] == [2]


def test_batches_are_bounded_by_count_bytes_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "MAX_BATCH_LETTERS", 4)
    steps = [Step(letter(n)) for n in range(10)]
    assert [len(batch) for batch in batches(steps)] == [4, 4, 2]
    assert [step for batch in batches(steps) for step in batch] == steps
    assert [len(batch) for batch in batches(steps, 2.9)] == [2] * 5
    assert [len(batch) for batch in batches(steps, 0.1)] == [1] * 10
    assert [len(batch) for batch in batches(steps, 1e9)] == [4, 4, 2]
    monkeypatch.setattr(plan, "MAX_BATCH_BYTES", 2 * steps[0].letter.size + 1)
    assert [len(batch) for batch in batches(steps)] == [2] * 5
    monkeypatch.setattr(plan, "MAX_BATCH_BYTES", 1)
    assert [len(batch) for batch in batches(steps)] == [1] * 10, "a large one goes alone"
    assert [*batches([])] == []


def test_the_target_is_the_source_s_partition() -> None:
    one = letter(0, 5, source_partition=3)
    assert target(one, None, {"orders": 4}) == Target("orders", 3)
    assert target(one, "again", {"orders": 1, "again": 4}) == Target("again", 3)
    assert target(one, "again", {"again": 3}) == Target("again", -1), "the key decides"


def test_a_target_that_is_not_there_is_an_error_with_a_remedy() -> None:
    one = letter(0, 5, source_partition=3)
    with pytest.raises(ValueError, match=r"no topic orders,.*--to"):
        target(one, None, {})
    with pytest.raises(ValueError, match=r"dead-letter/0/0 comes from orders/3/5, and orders has 3 partitions.*--to"):
        target(one, None, {"orders": 3})
    with pytest.raises(ValueError, match="no topic again"):
        target(one, "again", {"orders": 4})


def purged(
    *records: Stored, choice: Choice = ALL, replayed_only: bool = False, everything: bool = False
) -> Cut | None:
    found = purge_plan(contents(*records), choice, replayed_only=replayed_only, everything=everything)
    return found.get((DEAD, 0))


def test_purge_deletes_up_to_the_first_letter_that_is_kept() -> None:
    records = [stored(0), stored(1), stored(2), mark(3, Place(DEAD, 0, 0), Place(DEAD, 0, 2)), stored(9)]
    assert purged(*records, replayed_only=True) == Cut(1, 1, 0, 1), "letter 2 stays: letter 1 is before it"
    done = [stored(0), stored(1), mark(2, Place(DEAD, 0, 0), Place(DEAD, 0, 1))]
    assert purged(*done, replayed_only=True) == Cut(3, 2, 0, 0), "the marks go with their letters"
    assert purged(*done, stored(3), replayed_only=True) == Cut(3, 2, 0, 0)
    assert purged(*records, everything=True) == Cut(10, 4, 2, 0)


def test_purge_by_choice_says_how_many_were_never_replayed() -> None:
    records = [stored(n, message="a" if n < 3 else "b") for n in range(5)]
    of = letter(0, message="a").fingerprint
    assert purged(*records, choice=chosen([of])) == Cut(3, 3, 3, 0)
    assert purged(*records, choice=chosen([letter(0, message="b").fingerprint])) == Cut(0, 0, 0, 2)
    assert purged(*records, choice=chosen([Place(DEAD, 1, 0)])) is None


def test_purge_keeps_records_that_are_no_letters_unless_all_go() -> None:
    other = Stored(Place(DEAD, 0, 1), 0, None, b"somebody's own", ())
    assert purged(stored(0), other, stored(2)) == Cut(1, 1, 1, 1)
    assert purged(stored(0), other, stored(2), everything=True) == Cut(3, 2, 2, 0)


def test_a_mark_is_never_deleted_before_its_letters() -> None:
    """Else a replayed letter would be open again. Whatever is cut, the marks of what stays, stay."""
    generator = random.Random(3)
    for _ in range(200):
        records: list[Stored] = []
        for offset in range(generator.randrange(1, 12)):
            letters = [one.place for one in records if one.key]
            if letters and generator.random() < 0.3:
                records.append(mark(offset, *generator.sample(letters, generator.randrange(1, len(letters) + 1))))
            else:
                records.append(stored(offset, message=generator.choice("ab")))
        found = contents(*records)
        for choice in (ALL, chosen([letter(0, message="a").fingerprint])):
            for replayed_only in (False, True):
                cuts = purge_plan(found, choice, replayed_only=replayed_only, everything=False)
                before = cuts[DEAD, 0].before if cuts else 0
                left = contents(*(one for one in records if one.place.offset >= before))
                for one in left.letters.values():
                    assert left.is_open(one) == found.is_open(one)


@pytest.mark.parametrize(
    ("text", "found"),
    [("7f3a9c21", "7f3a9c21"), ("7F3A9C21", "7f3a9c21"), ("a.b-c_d/3/17", Place("a.b-c_d", 3, 17))],
)
def test_what_names_letters(text: str, found: object) -> None:
    assert parse_which(text) == found


@pytest.mark.parametrize("text", ["", "x", "t/1", "t/1/2/3", "/1/2", "t/x/2", "t/1/-2", "t/1/٣", "t/1/" + "9" * 30])
def test_what_names_nothing_says_what_would(text: str) -> None:
    with pytest.raises(ValueError, match=r"TOPIC/PARTITION/OFFSET .* fingerprint"):
        parse_which(text)


def test_names_that_no_letter_has_are_missing() -> None:
    choice = chosen([Place(DEAD, 0, 1), Place(DEAD, 0, 9), "00000000", letter(0).fingerprint])
    assert choice.missing([letter(1), letter(2)]) == [f"{DEAD}/0/9", "00000000"]


def test_of_lambdas_that_share_a_topic_only_one_is_meant() -> None:
    found = contents(stored(0, 7), stored(1, 7, lambda_name="audit"), stored(2, 8, lambda_name="audit"))
    of_audit = chosen([], "audit")
    assert not of_audit.names
    assert sources(replay_plan(found, of_audit)) == [(0, 7), (0, 8)]
    assert chosen([Place(DEAD, 0, 0)], "audit").missing(found.letters.values()) == [f"{DEAD}/0/0"]
    cuts = purge_plan(found, of_audit, replayed_only=False, everything=False)
    assert cuts[DEAD, 0] == Cut(0, 0, 0, 2)
