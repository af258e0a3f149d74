"""The document router: many documents compared with few, on the whole path; and the same lambda without a router."""

from benchmarks import throughput

PARTITIONS = 8
MANY = 100_000
FEW = 10
KEY_BYTES = 9
_STRIDE = 7919  # prime: it goes through all documents of a partition before it repeats one

Figures = dict[str, float]


def key(documents: int, number: int) -> bytes:
    """The key of the record ``number``, which is in partition ``number % PARTITIONS``.

    All partitions have equally many records, and a document is in one partition only. Within it, documents take turns
    in an order that is unrelated to their order in memory.
    """
    turn, partition = divmod(number, PARTITIONS)
    there = (documents - partition + PARTITIONS - 1) // PARTITIONS
    document = turn * _STRIDE % there * PARTITIONS + partition
    return b"%0*d" % (KEY_BYTES, document)


def run(broker: str, topic: str, total: int, documents: int | None) -> Figures:
    """One run with the topic's number of documents; None: without a router.

    Raises ``RuntimeError`` when a document did not get exactly one lambda, or a record was missed or came twice.
    """
    lambdas = PARTITIONS if documents is None else documents
    settings: dict[str, object] = {"lambdas": lambdas}  # instead of the lambdas of partitions
    module = "benchmarks.each"
    if documents is not None:
        settings |= {"document_lambda": module, "document_router": {"key": "record"}}
        module = "sdk_python.document_router"
    figures, result = throughput.measure(broker, topic, total, PARTITIONS, module, settings)
    if result["lambdas"] != lambdas:
        raise RuntimeError(f"{result['lambdas']} lambdas were made, not {lambdas}")
    return figures
