"""The example that counts exactly once: right counts, whatever crashes."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings, strategies as st

from examples import count
from sdk_python.testing import FakeSidecar
from sidecar.config.load import load

SETTINGS = {"output": "counts"}
MINUTE = 60_000


def counted(sidecar: FakeSidecar) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for sent in sidecar.sent:
        row = json.loads(sent.value or b"")
        assert sent.key == f"{row['minute']} {row['key']}".encode()
        found[row["minute"][14:16], row["key"]] += row["count"]
    return found


async def test_counts_are_written_when_the_minute_is_over() -> None:
    async with FakeSidecar(count.plugin, settings=SETTINGS, guarantee="exactly-once") as sidecar:
        await sidecar.feed("1", "2", key=b"/home", timestamp=0)
        await sidecar.feed("3", key=b"/about", timestamp=MINUTE - 1)
        assert (sidecar.sent, json.loads(sidecar.state)) == ([], [0, {"/home": 2, "/about": 1}])
        await sidecar.feed("4", key=b"/home", timestamp=MINUTE)
        assert counted(sidecar) == {("00", "/home"): 2, ("00", "/about"): 1}
        assert json.loads(sidecar.state) == [1, {"/home": 1}]


async def test_counts_that_outgrow_the_state_are_written_before() -> None:
    async with FakeSidecar(count.plugin, settings=SETTINGS, guarantee="exactly-once", lanes=4) as sidecar:
        for page in range(100):
            await sidecar.feed("x", key=b"/page/%d" % page, timestamp=0)
            assert len(sidecar.state) <= 512
        await sidecar.feed("x", key=b"/last", timestamp=MINUTE)
        assert counted(sidecar) == {("00", f"/page/{page}"): 1 for page in range(100)}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from(["/a", "/b"]), st.sampled_from(["", "crash", "abort", "rebalance"])
        ),
        max_size=30,
    )
)
def test_each_view_is_counted_once_whatever_crashes(views: Sequence[tuple[int, str, str]]) -> None:
    async def play() -> None:
        expected: Counter[tuple[str, str]] = Counter()
        async with FakeSidecar(count.plugin, settings=SETTINGS, guarantee="exactly-once") as sidecar:
            for minute, page, then in views:
                await sidecar.feed("x", key=page.encode(), timestamp=minute * MINUTE)
                expected[f"{minute:02}", page] += 1
                if then == "crash":
                    await sidecar.restart()
                elif then == "abort":
                    await sidecar.abort()
                elif then == "rebalance":
                    await sidecar.rebalance()
            await sidecar.feed("x", key=b"/end", timestamp=9 * MINUTE)
            assert counted(sidecar) == expected
            assert sidecar.errors == []

    asyncio.run(play())


def test_its_config_is_one() -> None:
    config = load(Path(count.__file__).with_name("config.yaml"), {})
    assert config.lambdas["count"].guarantee == "exactly-once"
