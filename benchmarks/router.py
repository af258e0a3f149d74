"""The document router: many documents against few, on the whole path; and the same lambda without a router."""

from benchmarks import throughput

PARTITIONS = 8
MANY = 100_000
FEW = 10
KEY_BYTES = 9
_STRIDE = 7919  # prime: no multiple of it is one of the documents in a partition but after all of them

Figures = dict[str, float]


def key(documents: int, number: int) -> bytes:
    """The key of the record ``number``, which is in partition ``number % PARTITIONS``.

    All partitions have equally many records, and a document is in one partition only. Within it, documents take turns
    in an order that has nothing to do with that in which they lie in memory.
    """
    turn, partition = divmod(number, PARTITIONS)
    there = (documents - partition + PARTITIONS - 1) // PARTITIONS
    document = turn * _STRIDE % there * PARTITIONS + partition
    return b"%0*d" % (KEY_BYTES, document)


def run(broker: str, topic: str, total: int, documents: int | None) -> Figures:
    """One run over so many documents, which is what the topic has; None: without a router.

    Raises ``RuntimeError`` when not every document got its one lambda, or a record was missed or came twice.
    """
    lambdas = PARTITIONS if documents is None else documents
    settings: dict[str, object] = {"lambdas": lambdas}  # instead of the partitions'
    module = "benchmarks.each"
    if documents is not None:
        settings |= {"document_lambda": module, "document_router": {"key": "record"}}
        module = "sdk_python.document_router"
    figures, result = throughput.measure(broker, topic, total, PARTITIONS, module, settings)
    if result["lambdas"] != lambdas:
        raise RuntimeError(f"{result['lambdas']} lambdas were made, not {lambdas}")
    return figures
