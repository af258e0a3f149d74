"""The part of docs/operate/explain.md that shows what is said of each cause: made from the scenes, and compared with
the page by a test. `python -m tests.unit.explain.document` writes it anew."""

from __future__ import annotations

from pathlib import Path

from sidecar.explain import explain
from tests.unit.explain.scenes import SCENES

PAGE = Path(__file__).resolve().parents[3] / "docs/operate/explain.md"
BEGIN, END = "<!-- the scenes of tests/unit/explain -->\n", "<!-- end of the scenes -->\n"


def sections() -> str:
    """For each cause its word, its urgency, and what is said."""
    parts = []
    for cause, scene in SCENES.items():
        first = explain(scene())[0]
        parts.append(f"**`{cause}`** ({first.urgency.name.lower()})\n\n> {first.text}\n")
    return "\n".join(parts)


def page_with(content: str) -> str:
    """The page with this content between its two marks."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with(sections()))
