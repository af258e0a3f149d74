"""What a group has committed, which may be anybody's."""

from types import SimpleNamespace
from typing import Any

import pytest

from sidecar.cluster.committed import _commits
from sidecar.mail.facts import Commit
from sidecar.partitions.vocabulary import TopicPartition


class NoText(SimpleNamespace):
    """An answer of the binding whose metadata is not UTF-8."""

    @property
    def metadata(self) -> str:
        return b"\xff".decode()


@pytest.mark.parametrize("made", [NoText, lambda **fields: SimpleNamespace(metadata="somebody's", **fields)])
def test_metadata_of_somebody_else_is_none(made: Any) -> None:
    answer = made(topic="t", partition=3, offset=7, error=None)
    assert _commits([answer]) == {TopicPartition("t", 3): Commit(7, None)}
