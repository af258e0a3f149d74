"""Which of too many silent calls must go: never one of a peer with few, while another peer has more."""

from collections import Counter

from hypothesis import given, strategies as st

from sidecar.server.silent import Silent


def test_those_that_have_spoken_do_not_count() -> None:
    silent: Silent[int] = Silent(2)
    for key in range(100):
        silent.add("a", key)
        assert silent.crowded_out() == []
        silent.remove("a", key)
    assert (len(silent), silent.of("a"), silent.victim()) == (0, 0, None)


def test_the_oldest_of_the_peer_with_the_most_must_go() -> None:
    silent: Silent[str] = Silent(5)
    for key in ("a1", "b1", "b2", "c1", "b3"):
        silent.add(key[0], key)
    assert silent.crowded_out() == []
    silent.add("a", "a2")
    assert silent.crowded_out() == ["b1"]
    silent.add("d", "d1")
    assert silent.crowded_out() == ["a1"], "of those with two each the one that came first"
    assert [silent.of(peer) for peer in "abcd"] == [1, 2, 1, 1]


def test_removing_an_unknown_key_does_nothing() -> None:
    silent: Silent[int] = Silent(0)
    silent.add("a", 1)
    assert silent.crowded_out() == [1]
    silent.remove("a", 1)
    silent.remove("nobody", 1)
    assert len(silent) == 0


@given(st.integers(2, 20), st.lists(st.integers(0, 3), max_size=200))
def test_a_new_one_always_gets_in(most: int, attackers: list[int]) -> None:
    """It is alone on its connection while other connections fill the limit: it stays until it has spoken."""
    silent: Silent[tuple[str, int]] = Silent(most)
    for number in range(2 * most):
        silent.add("attacker", ("attacker", number))
        silent.crowded_out()
    silent.add("honest", ("honest", 0))
    gone = silent.crowded_out()
    for number, attacker in enumerate(attackers[: most - 2]):
        silent.add(f"attacker {attacker}", (f"attacker {attacker}", number))
        gone += silent.crowded_out()
    assert ("honest", 0) not in gone
    assert len(silent) == most


@given(st.integers(1, 5), st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_it_never_keeps_more_than_the_limit_and_counts_correctly(most: int, steps: list[tuple[str, bool]]) -> None:
    silent: Silent[tuple[str, int]] = Silent(most)
    there: list[tuple[str, int]] = []
    for number, (peer, comes) in enumerate(steps):
        mine = [key for key in there if key[0] == peer]
        if comes or not mine:
            silent.add(peer, (peer, number))
            there.append((peer, number))
        else:
            silent.remove(peer, mine[0])
            there.remove(mine[0])
        counts = Counter(key[0] for key in there)
        for key in silent.crowded_out():
            assert counts[key[0]] == max(counts.values())
            assert key == next(one for one in there if one[0] == key[0])
            there.remove(key)
        assert len(silent) == len(there) <= most
        assert all(silent.of(peer) == sum(key[0] == peer for key in there) for peer in "abc")
