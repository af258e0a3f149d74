"""The table of write clients, and which one is looked at when several hold the minimum."""

from hypothesis import given, strategies as st

from examples.deli.clients import Client, Clients


def table(**references: int) -> Clients:
    clients = Clients()
    for name, reference in references.items():
        clients = clients.put(Client(name, 0, reference, 0))
    return clients


def lowest(clients: Clients) -> str | None:
    return clients.lowest.client_id if clients.lowest else None


def test_the_first_of_equals_stays_the_lowest() -> None:
    clients = table(A=0, B=0, C=0)
    assert lowest(clients) == "A"
    assert lowest(clients.touch("A", last_update=5)) == "A"
    assert lowest(clients.touch("B", last_update=5)) == "A"
    assert lowest(clients.touch("A", reference_sequence_number=5)) == "B"
    assert lowest(clients.touch("C", reference_sequence_number=-1)) == "C"
    back = clients.touch("A", reference_sequence_number=5).touch("A", reference_sequence_number=0)
    assert lowest(back) == "B"


def test_a_table_never_changes() -> None:
    clients = table(A=1)
    clients.put(Client("B", 0, 0, 0))
    clients.touch("A", nack=True)
    clients.remove("A")
    assert clients == table(A=1)
    assert Clients().lowest is None


_STEPS = st.lists(st.tuples(st.sampled_from("ABCDEFG"), st.integers(-1, 5) | st.none()), max_size=60)


@given(_STEPS)
def test_the_lowest_is_the_lowest(steps: list[tuple[str, int | None]]) -> None:
    clients = Clients()
    model: dict[str, int] = {}
    for name, reference in steps:
        before = lowest(clients)
        if reference is not None:
            clients = clients.put(Client(name, 0, reference, 0))
            model[name] = reference
        elif name in model:
            clients = clients.remove(name)
            del model[name]
        assert {client.client_id: client.reference_sequence_number for client in clients} == model
        assert [client.client_id for client in clients] == [*model]
        top = clients.lowest
        assert (top.reference_sequence_number if top else None) == min(model.values(), default=None)
        if before in model and model[before] == min(model.values()):
            assert lowest(clients) == before, "one that is still among the lowest keeps its place"
