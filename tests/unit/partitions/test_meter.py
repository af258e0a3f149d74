"""Rates, against a model that keeps every count with its time."""

from hypothesis import given, strategies as st

from sidecar.partitions.meter import SECONDS, Meter


def naive(counts: list[tuple[float, int]], now: float) -> float:
    if not counts:
        return 0.0
    present = int(now)
    seconds = min(SECONDS, present - int(counts[0][0]))
    return sum(count for at, count in counts if present - seconds <= int(at) < present) / max(1, seconds)


@given(st.lists(st.tuples(st.floats(0, 25), st.integers(0, 1000), st.booleans()), max_size=40), st.floats(0, 30))
def test_a_rate_is_the_mean_of_the_last_whole_seconds(steps: list[tuple[float, int, bool]], last: float) -> None:
    meter, counts, now = Meter(), list[tuple[float, int]](), 1000.25
    for seconds, count, looked_at in steps:
        now += seconds
        meter.add(count, now)
        counts.append((now, count))
        if looked_at:
            assert meter.rate(now) == naive(counts, now)
    assert meter.rate(now + last) == naive(counts, now + last)


def test_the_present_second_does_not_count_yet() -> None:
    meter = Meter()
    meter.add(500, 7.1)
    assert meter.rate(7.9) == 0.0
    assert meter.rate(8.0) == 500.0
    assert meter.rate(17.5) == 50.0
    assert meter.rate(18.0) == 0.0
