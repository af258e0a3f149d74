"""The topic of the row `router`."""

from collections import Counter, defaultdict

import pytest

from benchmarks.router import FEW, KEY_BYTES, MANY, PARTITIONS, key


@pytest.mark.parametrize("documents", [FEW, MANY])
def test_every_document_is_in_one_partition_and_as_often_there_as_the_others(documents: int) -> None:
    records = 2 * MANY
    partitions: defaultdict[bytes, set[int]] = defaultdict(set)
    counts: Counter[tuple[int, bytes]] = Counter()
    for number in range(records):
        name = key(documents, number)
        partitions[name].add(number % PARTITIONS)
        counts[number % PARTITIONS, name] += 1
    assert len(partitions) == documents
    assert {len(one) for one in partitions.values()} == {1}
    assert {len(name) for name in partitions} == {KEY_BYTES}
    for partition in range(PARTITIONS):
        assert len({count for (where, _), count in counts.items() if where == partition}) == 1
