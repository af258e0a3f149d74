"""One cause has one fingerprint, and two causes have two."""

import pytest

from sidecar.dead_letters.fingerprint import LENGTH, fingerprint, is_fingerprint, normalised


@pytest.mark.parametrize(
    ("message", "same"),
    [
        ("cannot read message 5", "cannot read message #"),
        ("order a1b2-c3 not found", "order # not found"),
        ("order 6f9619ff-8b86-d011-b42d-00cf4fc964ff failed", "order # failed"),
        ("at 2026-11-24T14:05:00.123+02:00: timed out", "at # timed out"),
        ("connect to 10.0.0.7:5432 refused", "connect to # refused"),
        ("open /var/lib/orders/77/state: denied", "open # denied"),
        ("'customer-7'", "*"),
        ('no field "naïve \\"x\\"" here', "no field * here"),
        ("bad value `x y`", "bad value *"),
        ("can't parse 'it': don't", "can't parse *: don't"),
        ("ids [1, 2, 3] and ['a', 'b']", "ids [#] and [*]"),
        ("line one 1\nline two 2", "line one #"),
        ("  padded  ", "padded"),
        ("größe ٣ zählt", "größe # zählt"),
        ("", ""),
    ],
)
def test_what_differs_from_record_to_record_is_left_out(message: str, same: str) -> None:
    assert normalised(message) == same


def test_ten_thousand_failures_of_one_cause_have_one_fingerprint() -> None:
    of = {fingerprint("ValueError", "failed", f"order {n} of 'customer {n}' has no amount") for n in range(10_000)}
    assert len(of) == 1
    assert all(is_fingerprint(one) for one in of)


def test_the_type_the_code_and_the_words_tell_causes_apart() -> None:
    causes = [("A", "c", "m"), ("B", "c", "m"), ("A", "d", "m"), ("A", "c", "n"), ("Ac", "", "m"), ("", "Ac", "m")]
    assert len({fingerprint(*cause) for cause in causes}) == len(causes)


def test_a_fingerprint_stays_the_same_from_release_to_release() -> None:
    assert fingerprint("ValueError", "handler_failed", "cannot read message 5") == "0b418c35"


@pytest.mark.parametrize("text", ["3a5df1a", "3a5df1ad0", "3A5DF1AD", "3a5df1ag", "", "orders/1/2"])
def test_what_is_no_fingerprint(text: str) -> None:
    assert not is_fingerprint(text)
    assert LENGTH == 8


@pytest.mark.parametrize("message", ["'" * 100_000, '"\\' * 50_000, "a" * 100_000, "1 " * 50_000, "`'\"" * 30_000])
def test_no_text_takes_long(message: str) -> None:
    """A text that a regular expression would need minutes for ends with the test's timeout."""
    fingerprint("", "", message)
