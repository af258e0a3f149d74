"""Each cause is told in its own words. The whole texts are in docs/operate/explain.md, where people read them."""

from __future__ import annotations

import pytest

from sidecar.causes import Cause
from sidecar.explain import Urgency, explain, needs_a_person
from tests.unit.explain.document import PAGE, page_with, sections
from tests.unit.explain.scenes import SCENES


def test_there_is_a_scene_for_each_cause() -> None:
    assert set(SCENES) == set(Cause)


@pytest.mark.parametrize("cause", Cause, ids=str)
def test_a_scene_is_explained_by_its_cause(cause: Cause) -> None:
    first, *others = explain(SCENES[cause]())
    assert first.cause is cause
    assert all(other.urgency is Urgency.WELL for other in others), "it is the only thing that is wrong"
    assert f"**`{cause}`** ({first.urgency.name.lower()})\n\n> {first.text}\n" in PAGE.read_text()
    assert needs_a_person([first]) is (first.urgency >= Urgency.LOOK)
    for command in first.commands:
        assert f"`{command}`" in first.text


def test_the_page_has_nothing_else_between_its_marks() -> None:
    assert PAGE.read_text() == page_with(sections()), "python -m tests.unit.explain.document writes it anew"
