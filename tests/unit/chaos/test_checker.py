"""The checker finds what is wrong, each by its own check, and nothing where all is right."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from tests.chaos import checker, plant, story
from tests.chaos.facts import Breach, Commit, Facts, Span

TAKEOVERS = story.takeovers()
DEAD_LETTERS = story.dead_letters()


def names(facts: Facts) -> set[str]:
    return {breach.check for breach in checker.check(facts)}


@pytest.mark.parametrize("facts", [TAKEOVERS, DEAD_LETTERS], ids=["takeovers", "dead letters"])
def test_valid_history_passes(facts: Facts) -> None:
    assert checker.check(facts) == []


@pytest.mark.parametrize(("planted", "check"), plant.PLANTS.items(), ids=[one.__name__ for one in plant.PLANTS])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1_000_000))
def test_planted_fault_is_found_by_its_check_only(planted: plant.Plant, check: str, seed: int) -> None:
    changed = planted(TAKEOVERS, Random(seed))
    assert changed is not None, "the story has a place for each"
    assert names(changed) == {check}, [str(breach) for breach in checker.check(changed)]


def test_every_check_has_a_fault_to_find() -> None:
    assert {*plant.PLANTS.values()} == {*checker.CHECKS}


def only(facts: Facts) -> Breach:
    """The one breach."""
    (breach,) = checker.check(facts)
    return breach


def test_loss_is_told() -> None:
    handled = tuple(event for event in TAKEOVERS.handled if (event.partition, event.offset) != (1, 159))
    breach = only(TAKEOVERS.but(handled=handled))
    assert str(breach) == "lost: partition 1: never handled: 159"


def test_gap_is_told() -> None:
    handled = tuple(e for e in TAKEOVERS.handled if (e.lease, e.offset) not in {("b1-1.1", 60), ("b1-1.1", 61)})
    breach = only(TAKEOVERS.but(handled=handled))
    assert breach.where.startswith("partition 0, lambda b1-1.1 (sidecar b-1, 10")
    assert breach.text == "left out 60, 61 of 30 to 99"


def test_duplicate_commit_is_told() -> None:
    commits = [*TAKEOVERS.commits]
    index = next(i for i, one in enumerate(commits) if (one.partition, one.offset) == (0, 20))
    commits.insert(index + 1, commits[index]._replace(offset=10))
    breach = only(TAKEOVERS.but(commits=tuple(commits)))
    assert breach.check == "commit-back"
    assert breach.where.startswith("partition 0, commit of 10 (")
    assert breach.text.startswith("goes back from 20 (#")


def test_same_commit_twice_is_no_breach() -> None:
    """The answer to a commit may be lost: it is sent again."""
    commits = [*TAKEOVERS.commits]
    assert checker.check(TAKEOVERS.but(commits=(*commits[:3], commits[2], *commits[3:]))) == []


def _with_commit(offset: int, after: int) -> Facts:
    """A commit of partition 1 more, behind the commit of ``after``."""
    commits = [*TAKEOVERS.commits]
    index = next(i for i, one in enumerate(commits) if (one.partition, one.offset) == (1, after))
    commits.insert(index + 1, commits[index]._replace(offset=offset))
    return TAKEOVERS.but(commits=tuple(commits))


def test_stale_commit_is_told() -> None:
    """47 was checkpointed by the killed process, whose heir began at 40 and has got to 46."""
    breach = only(_with_commit(48, after=46))
    assert breach.check == "commit-stale"
    assert "checkpoint of a1-1.2, but a2-1.1 had begun at 40" in breach.text


def test_commit_beyond_the_checkpoint_is_told() -> None:
    breach = only(_with_commit(49, after=46))
    assert breach.check == "commit-source"
    assert breach.text.startswith("no such checkpoint was made before; the highest was ")


def test_checkpoint_that_is_lost_with_its_lease_is_no_breach() -> None:
    """The story has one: 47 of a1-1.2, which never came to the sidecar."""
    assert any((one.lease, one.offset) == ("a1-1.2", 47) for one in TAKEOVERS.checkpoints)
    assert not any((one.partition, one.offset) == (1, 48) for one in TAKEOVERS.commits)


def test_removed_commit_is_told() -> None:
    last = TAKEOVERS.commits[-1]
    gone = Commit(last.position + 1, last.at + 0.1, last.partition, -1)
    assert names(TAKEOVERS.but(commits=(*TAKEOVERS.commits, gone))) == {"commit-source", "commit-back"}


def test_start_below_the_commit_is_told() -> None:
    """A sidecar that gave out an older place than it had committed."""
    leases = tuple(replace(one, start=94, state=None) if one.name == "b1-1.2" else one for one in TAKEOVERS.leases)
    extra = tuple(
        one._replace(lease="b1-1.2") for one in TAKEOVERS.handled if one.partition == 1 and 94 <= one.offset < 100
    )
    at = next(event.at for event in TAKEOVERS.handled if event.lease == "b1-1.2")
    handled = [*TAKEOVERS.handled]
    first = next(i for i, event in enumerate(handled) if event.lease == "b1-1.2")
    handled[first:first] = [one._replace(at=at) for one in extra]
    breach = only(TAKEOVERS.but(leases=leases, handled=tuple(handled)))
    assert breach.check == "start"
    assert breach.text == "began at 94, when 100 was committed"


def test_a_state_of_another_place_is_told() -> None:
    leases = tuple(replace(one, state="19") if one.name == "b1-1.1" else one for one in TAKEOVERS.leases)
    breach = only(TAKEOVERS.but(leases=leases))
    assert breach.text == "began at 30 with the state of checkpoint 19"
    none = tuple(replace(one, state="") if one.name == "b1-1.1" else one for one in TAKEOVERS.leases)
    assert only(TAKEOVERS.but(leases=none)).text == "began at 30 with no state"


def test_programs_without_states_are_not_judged_by_them() -> None:
    leases = tuple(replace(one, state=None) if one.name == "a1-1.1" else one for one in TAKEOVERS.leases)
    leases = tuple(replace(one, state="19") if one.name == "b1-1.1" else one for one in leases)
    assert names(TAKEOVERS.but(leases=leases)) == set()


def test_zombie_sidecar_may_give_out_what_it_remembers() -> None:
    """The same at a sidecar that, as Kafka has it, owns the partition no more: its commits are refused."""
    lease = next(one for one in TAKEOVERS.leases if one.name == "b1-1.2")
    zombie = replace(lease, name="a1-1.9", process="a1-1", slot="a", start=40, state="39", at=lease.at + 1.0)
    leases = sorted([*TAKEOVERS.leases, zombie], key=lambda one: one.at)
    event = next(one for one in TAKEOVERS.handled if one.partition == 1 and one.offset == 40)
    again = event._replace(lease="a1-1.9", at=zombie.at + 0.01)
    handled = sorted([*TAKEOVERS.handled, again], key=lambda one: one.at)
    closed = tuple(
        replace(one, closing=one.at + 2.5, closed=one.at + 2.6) if one.name == "a1-1.2" else one for one in leases
    )
    assert names(TAKEOVERS.but(leases=closed, handled=tuple(handled))) == set()


def test_seek_that_was_not_followed_is_told() -> None:
    """After the answer the lambda must begin at the target, not at the old place."""
    leases = tuple(replace(one, start=100, state=None) if one.name == "b1-1.3" else one for one in TAKEOVERS.leases)
    handled = tuple(e for e in TAKEOVERS.handled if e.lease != "b1-1.3" or e.offset >= 100)
    assert names(TAKEOVERS.but(leases=leases, handled=handled)) == {"start"}


def test_lambda_may_begin_at_a_target_that_is_not_committed_yet() -> None:
    """A seek kills the lease at once; its commit may come after the next lambda, before the answer."""
    heir = next(one for one in TAKEOVERS.leases if one.name == "b1-1.3")
    seeks = tuple(replace(one, answered=heir.at + 0.06) for one in TAKEOVERS.seeks)
    late = tuple(
        one._replace(at=heir.at + 0.05) if (one.partition, one.offset) == (0, 51) else one
        for one in TAKEOVERS.commits
    )
    assert names(TAKEOVERS.but(seeks=seeks, commits=late)) == set()
    assert names(TAKEOVERS.but(seeks=(), commits=late)) >= {"start", "commit-back"}


def test_repeated_breach_is_told_once() -> None:
    commits = [*TAKEOVERS.commits]
    index = next(i for i, one in enumerate(commits) if (one.partition, one.offset) == (0, 20))
    commits[index + 1 : index + 1] = [commits[index]._replace(offset=10)] * 7
    assert only(TAKEOVERS.but(commits=tuple(commits))).text.endswith("without a seek (7 times)")


def test_too_much_handled_again_is_told() -> None:
    changed = plant.too_much_again(TAKEOVERS, Random(0))
    assert changed is not None
    breach = only(changed)
    assert breach.check == "again"
    assert breach.text.endswith("handled again from 40 on, more than the window of 20")


def test_broker_outage_excuses_a_late_commit() -> None:
    changed = plant.withheld_commits(TAKEOVERS, Random(0))
    assert changed is not None
    assert names(changed) == {"commit-overdue"}
    outage = Span("broker", changed.leases[0].at, changed.handled[-1].at)
    assert names(changed.but(spans=(outage,))) == set()


def test_a_process_that_was_killed_need_not_have_sent_its_last_checkpoint() -> None:
    changed = plant.withheld_commits(TAKEOVERS, Random(0))
    assert changed is not None
    last = {one.lease: one.at for one in changed.checkpoints}
    ends = {lease.process: last.get(lease.name, lease.at) for lease in changed.leases}
    assert names(changed.but(ends=ends)) == set()
    assert names(changed.but(ends={process: end + 60 for process, end in ends.items()})) == {"commit-overdue"}


def test_no_commit_is_withheld_of_a_process_that_was_killed_before_it_was_due() -> None:
    """The check does not miss it: nobody knows whether the checkpoint was sent."""
    calm = _calm()
    calm.handles("a1-1.1", 0, 9, every=10)
    killed = calm.now + 0.1
    calm.passes(5.0)
    calm.lease("a2-1.1", 0, 10)
    calm.handles("a2-1.1", 10, 19, every=10)
    calm.closes("a2-1.1")
    facts = calm.facts()
    _withheld_at_the_first_checkpoint(facts)
    assert plant.withheld_commits(facts.but(ends={"a1-1": killed}), Random(0)) is None


@pytest.mark.parametrize("seed", range(8))
def test_no_commit_is_withheld_of_a_checkpoint_that_an_earlier_one_includes(seed: int) -> None:
    """A lambda may make a checkpoint that it has passed. It changes nothing, whatever is committed after it."""
    calm = _calm()
    calm.handles("a1-1.1", 0, 19, every=20)
    calm.passes(5.0)
    calm.checkpoint("a1-1.1", 9)
    calm.commit(0, 20)
    _withheld_at_the_first_checkpoint(calm.facts(), seed)


def _calm() -> story.Story:
    """A lambda in partition 0 at a time at which nothing excuses a late commit."""
    calm = story.Story()
    calm.sidecar("a-1")
    calm.group(a_1=[0])
    calm.lease("a1-1.1", 0, 0)
    calm.passes(30.0)
    return calm


def _withheld_at_the_first_checkpoint(facts: Facts, seed: int = 0) -> None:
    changed = plant.withheld_commits(facts, Random(seed))
    assert changed is not None
    assert only(changed).text.startswith(f"checkpoint {facts.checkpoints[0].offset} (")


@pytest.mark.parametrize("left_out", [(0, 0), (0, 10), (0, 11)])
def test_dead_letter_that_was_never_written_is_lost(left_out: tuple[int, int]) -> None:
    """What passed it without a checkpoint is told too."""
    found = names(DEAD_LETTERS.but(dead_letters=DEAD_LETTERS.dead_letters - {left_out}))
    assert {"lost", "dead-letters", "commit-source"} <= found
