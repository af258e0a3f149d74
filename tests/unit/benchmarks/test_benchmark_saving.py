"""What the row `pipelined` checkpoints: only what is saved without a gap."""

from itertools import pairwise

from hypothesis import given, strategies as st

from benchmarks.saving import Prefix


def test_a_gap_holds_back_what_is_behind_it() -> None:
    prefix = Prefix()
    for offset in (3, 4, 7):
        prefix.begin(offset)
    assert prefix.finish(7) is None
    assert prefix.finish(3) == 3
    assert len(prefix) == 1
    assert prefix.finish(4) == 7
    assert len(prefix) == 0


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_in_any_order_each_answer_is_the_end_of_what_is_done(order: list[int], left_out: set[int]) -> None:
    prefix = Prefix()
    for offset in range(12):
        prefix.begin(offset)
    done: set[int] = set()
    answers = []
    for offset in order:
        if offset in left_out:
            continue
        done.add(offset)
        answer = prefix.finish(offset)
        if answer is not None:
            answers.append(answer)
            assert done >= set(range(answer + 1))
        assert len(prefix) == 12 - len(done)
    assert all(lower < higher for lower, higher in pairwise(answers))
    assert max(answers, default=-1) == min(left_out, default=12) - 1
