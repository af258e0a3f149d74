"""The rows: what each row compares, and on which topics."""

import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from benchmarks import (
    exactly_once,
    lane_rows,
    languages,
    latency,
    pipelined,
    pressure,
    producing,
    router,
    sequencing,
    takeover,
    throughput,
    tracing,
    visibility,
)
from benchmarks.peers.catalogue import PEERS
from benchmarks.row import CPU, RATE, Comparison, Figures, Options, Row, is_there
from benchmarks.shapes import SHAPES
from benchmarks.traffic import fill
from tests.clients.languages import LANGUAGES
from tests.servers.topics import delete_topic

MANY = 512
BEHIND = 10_000_000
WINDOWS = {"pipelined": 10_000, "pipelined_by_100": pipelined.BATCH}
"""The windows in the row `pipelined`. The second allows as many saves at once as batches of all partitions."""
SAVES = 200_000
ANSWERED = {
    "one_of_all": (1, False, 400),
    "one_of_each": (8, False, 4_000),
    "together_of_all": (1, True, 40_000),
    "together_of_each": (8, True, 160_000),
}
"""The contestants with batches in that row: batches in flight, whether their saves run at the same time, records."""


def _throughput(broker: str, options: Options) -> Iterator[Row]:
    records = options.records
    fill(broker, "eight", 8, records)
    yield Row(
        "throughput",
        f"{records:,} records of 100 bytes with keys, 8 partitions, a handler that counts",
        {
            "bare": lambda: throughput.bare(broker, "eight", records),
            "plain": lambda: throughput.bare(broker, "eight", records, "plain"),
            "path": lambda: throughput.path(broker, "eight", records, 8),
        },
        [
            Comparison("path", "bare", drawn="8 partitions, 100 bytes"),
            Comparison("path", "bare", CPU),
            Comparison("path", "plain", drawn="the same ÷ bare loop as by default"),
            Comparison("path", "plain", CPU),
        ],
        (RATE, "sidecar_mb"),
    )
    delete_topic(broker, "eight")


def _watched(broker: str, options: Options) -> Iterator[Row]:
    records = 3 * options.records  # long enough for some scrapes
    fill(broker, "watched", 8, records)
    yield Row(
        "watched",
        f"{records:,} records of 100 bytes with keys, 8 partitions; with metrics scraped, the page open, and `top`",
        {
            "alone": lambda: throughput.path(broker, "watched", records, 8),
            "watched": lambda: throughput.path(broker, "watched", records, 8, watch=True),
        },
        [Comparison("watched", "alone", drawn="watched"), Comparison("watched", "alone", CPU)],
    )
    delete_topic(broker, "watched")


def _shapes(broker: str, options: Options) -> Iterator[Row]:
    for name in options.shapes.split(","):
        shape, topic = SHAPES[name], f"shape-{name}"
        total = shape.total(options.records)
        shape.fill(broker, topic, total)
        yield Row(
            f"shapes: {name}",
            f"{total:,} records; {shape.what}",
            {"bare": partial(shape.bare, broker, topic, total), "path": partial(shape.path, broker, topic, total)},
            [Comparison("path", "bare", drawn=shape.what), Comparison("path", "bare", CPU)],
        )
        delete_topic(broker, topic)


def _latency(broker: str, _: Options) -> Iterator[Row]:
    # While the broker's JVM compiles what handles small requests, nothing else gets the processor in time.
    latency.path(broker, 8, 1000, 20.0)
    yield Row(
        "latency",
        "1,000 records/s over 8 partitions; milliseconds from production to the handler",
        {
            "bare": lambda: latency.bare(broker, 8, 1000, 10.0),
            "path": lambda: latency.path(broker, 8, 1000, 10.0),
        },
        [Comparison("path", "bare", name, added=True) for name in ("p50_ms", "p99_ms")],
        ("p50_ms", "p99_ms", CPU),
    )


def _many(broker: str, options: Options) -> Iterator[Row]:
    records = max(2 * options.records // MANY, 1) * MANY  # some records must be left when all 512 partitions are open
    fill(broker, "few", 8, records)
    fill(broker, "many", MANY, records)
    yield Row(
        "many",
        f"{records:,} records, {MANY} partitions compared with 8, the whole path; with_opening counts from the first"
        " record on, while they are opened",
        {
            "few": lambda: throughput.path(broker, "few", records, 8),
            "many": lambda: throughput.path(broker, "many", records, MANY),
            "many, opened meanwhile": lambda: _from_the_first(
                throughput.path(broker, "many", records, MANY, {"eager": True})
            ),
        },
        [
            Comparison("many", "few", drawn=f"{MANY} partitions ÷ 8, both the path"),
            Comparison("many, opened meanwhile", "few", "with_opening"),
        ],
        (RATE, "with_opening"),
    )
    delete_topic(broker, "few")
    delete_topic(broker, "many")


def _from_the_first(figures: Figures) -> Figures:
    """Without the rate that counts from the opening of the last partition on: few records are left then."""
    return {name: value for name, value in figures.items() if name != RATE}


def _pressure(broker: str, options: Options) -> Iterator[Row]:
    yield Row(
        "pressure",
        f"a lambda that never checkpoints, {options.records:,} records waiting; {pressure.RATE:,}/s on the others",
        {
            "free": lambda: pressure.run(broker, 0),
            "stuck": lambda: pressure.run(broker, options.records),
        },
        [Comparison("stuck", "free")],
        (RATE, "sidecar_mb"),
        rounds=3,
    )
    fill(broker, "standing", pressure.STANDING, BEHIND)
    yield Row(
        "pressure: all",
        f"a lambda that never checkpoints, {pressure.STANDING} partitions, {BEHIND:,} records waiting, watched for"
        f" {pressure.STANDS:g} s when all are full",
        {"path": lambda: pressure.standing(broker, "standing")},
        shown=("sidecar_mb", "grown_mb", "cpu_seconds_per_hour"),
        rounds=3,
    )
    delete_topic(broker, "standing")


def _router(broker: str, options: Options) -> Iterator[Row]:
    records = options.records
    few, many = (f"documents-{number}" for number in (router.FEW, router.MANY))
    for number, topic in ((router.FEW, few), (router.MANY, many)):
        fill(broker, topic, router.PARTITIONS, records, key=partial(router.key, number))
    yield Row(
        "router",
        f"{records:,} records, {router.MANY:,} documents compared with {router.FEW}, and no router; records/s count"
        " from the time when all documents are open, with_opening from the first record on",
        {
            "plain": lambda: router.run(broker, few, records, None),
            "few": lambda: router.run(broker, few, records, router.FEW),
            "many": lambda: router.run(broker, many, records, router.MANY),
        },
        [
            Comparison("many", "few", drawn=f"router: {router.MANY:,} documents ÷ {router.FEW}"),
            Comparison("many", "few", "with_opening"),
            Comparison("many", "few", CPU),
            Comparison("few", "plain"),
        ],
        (RATE, "with_opening", "lambda_mb"),
    )
    delete_topic(broker, few)
    delete_topic(broker, many)


def _pipelined(broker: str, _: Options) -> Iterator[Row]:
    fill(broker, "saves", pipelined.PARTITIONS, SAVES)
    contestants: dict[str, Callable[[], Figures]] = {}
    for who, window in WINDOWS.items():
        contestants[who] = partial(pipelined.pipelined, broker, "saves", SAVES, window)
    for who, (loops, together, records) in ANSWERED.items():
        contestants[who] = partial(pipelined.answered, broker, "saves", records, loops, together=together)
    yield Row(
        "pipelined",
        f"a save of 10 ms for each record, {pipelined.PARTITIONS} partitions; the path with the default window, and"
        f" with a window of {pipelined.BATCH}; batches of {pipelined.BATCH}, one in flight for all partitions or for"
        " each, saved one after the other or together",
        contestants,
        [
            *(Comparison("pipelined", who) for who in ANSWERED),
            Comparison("pipelined_by_100", "together_of_each"),
            Comparison("pipelined", "together_of_each", CPU),
        ],
        (RATE, "most_at_once"),
        rounds=3,
    )
    delete_topic(broker, "saves")


def _producing(broker: str, options: Options) -> Iterator[Row]:
    records = max(1, options.records // 2)
    fill(broker, "originals", producing.PARTITIONS, records)
    yield Row(
        "producing",
        f"{records:,} records of 100 bytes with keys, {producing.PARTITIONS} partitions, each produced again",
        {
            "bare": lambda: producing.bare(broker, "originals", records),
            "path": lambda: producing.path(broker, "originals", records, looks=True),
            "following": lambda: producing.path(broker, "originals", records, looks=False),
        },
        [
            Comparison("path", "bare", drawn="each record produced again"),
            Comparison("path", "bare", CPU),
            Comparison("following", "bare", drawn="the same, checkpoints follow"),
            Comparison("following", "bare", CPU),
        ],
    )
    delete_topic(broker, "originals")


def _sequencing(broker: str, options: Options) -> Iterator[Row]:
    topic = f"rawdeltas-{uuid.uuid4().hex[:8]}"
    total = sequencing.fill(broker, topic, max(1, options.records // 20 // sequencing.DOCUMENTS))
    yield Row(
        "sequencing",
        f"deli, {total:,} operations of {sequencing.DOCUMENTS} documents, a record each",
        {
            "end to end": lambda: sequencing.run(broker, topic, total),
            "alone": lambda: sequencing.alone(total),
        },
        [Comparison("end to end", "alone", "operations_per_second")],
        ("operations_per_second",),
        rounds=3,
    )
    delete_topic(broker, topic)


def _tracing(broker: str, options: Options) -> Iterator[Row]:
    records = max(1, options.records // 3)
    headers = {"without traceparent": (), "with traceparent": (tracing.TRACEPARENT,)}
    compare = [Comparison("on", "off"), Comparison("on", "off", CPU)]
    for name, carried in headers.items():
        fill(broker, "traced", tracing.PARTITIONS, records, headers=carried)
        run = partial(tracing.run, broker, "traced", records, headers=len(carried))
        yield Row(
            f"tracing: {name}",
            f"{records:,} records of 100 bytes with keys, 8 partitions, a handler that counts; with a tracer provider"
            " and without",
            {"off": partial(run, tracing=False), "on": partial(run, tracing=True)},
            compare,
            (RATE, CPU),
        )
        delete_topic(broker, "traced")
    few = max(1, records // 4)
    fill(broker, "copied", tracing.PARTITIONS, few, headers=(tracing.TRACEPARENT,))
    copy = partial(tracing.copy, broker, "copied", few)
    yield Row(
        "tracing: producing",
        f"{few:,} records with traceparent, each produced again: a span and a header for each",
        {"off": partial(copy, tracing=False), "on": partial(copy, tracing=True)},
        compare,
        (RATE, CPU),
    )
    delete_topic(broker, "copied")


def _languages(broker: str, options: Options) -> Iterator[Row]:
    records = options.records
    fill(broker, "spoken", 8, records, values=(b"x" * 200,))
    for language in LANGUAGES:
        yield Row(
            f"languages: {language}",
            f"{records:,} records of 200 bytes with keys, 8 partitions; a lambda that counts and checkpoints each"
            f" record, and {PEERS[languages.CLIENTS[language]].title}",
            {
                "client": partial(languages.client, broker, "spoken", records, language),
                "path": partial(languages.path, broker, "spoken", records, language),
            },
            [Comparison("path", "client", drawn=f"{language} ÷ its Kafka client"), Comparison("path", "client", CPU)],
            (RATE, CPU),
        )
    delete_topic(broker, "spoken")


def _takeover(broker: str, options: Options) -> Iterator[Row]:
    yield Row(
        "takeover",
        f"{options.kills} kills of the process that has all {takeover.PARTITIONS} partitions, {takeover.RATE:,}/s;"
        " seconds from the kill to the next message that another process handles, of each partition, and of the first"
        " partition of a kill",
        {"path": lambda: takeover.run(broker, options.kills)},
        shown=("p50_s", "p99_s", "max_s", "first_p50_s", "first_max_s"),
        rounds=1,
    )


def _exactly_once(broker: str, options: Options) -> Iterator[Row]:
    records = max(1, options.records // 4)
    fill(broker, "transformed", exactly_once.PARTITIONS, records, values=exactly_once.values(records))
    run = partial(exactly_once.path, broker, "transformed", records)
    contestants: dict[str, Callable[[], Figures]] = {
        "lambda, exactly once": partial(run, "exactly-once"),
        "lambda, at least once": partial(run, "at-least-once"),
        "confluent-kafka's transactional loop": partial(exactly_once.loop, broker, "transformed", records),
    }
    if is_there("kafka-streams"):
        run = partial(exactly_once.streams, broker, "transformed", records)
        contestants["Kafka Streams, exactly_once_v2"] = partial(run, "exactly_once_v2")
        contestants["Kafka Streams, at_least_once"] = partial(run, "at_least_once")
    ours, *others = contestants
    yield Row(
        "exactly-once",
        f"{records:,} records of 100 bytes with keys, {exactly_once.PARTITIONS} partitions, each produced again; the"
        " place is committed every 100 ms, in the transaction of the outputs or after them",
        contestants,
        [
            *(Comparison(ours, other, drawn=f"exactly once ÷ {other}") for other in others),
            *(Comparison(ours, other, CPU) for other in others),
        ],
        rounds=3,
    )
    delete_topic(broker, "transformed")
    visible = partial(visibility.path, broker, exactly_once.PARTITIONS, 1000, 10.0)
    yield Row(
        "exactly-once: latency",
        f"1,000 records/s over {exactly_once.PARTITIONS} partitions, each produced again; milliseconds from the"
        " production of a record until its copy is visible to a reader with read_committed; transaction_interval is"
        " 100 ms",
        {"exactly once": partial(visible, "exactly-once"), "at least once": partial(visible, "at-least-once")},
        [Comparison("exactly once", "at least once", name, added=True) for name in ("p50_ms", "p99_ms")],
        ("p50_ms", "p99_ms"),
    )


ROWS: Mapping[str, Callable[[str, Options], Iterator[Row]]] = {
    "throughput": _throughput,
    "shapes": _shapes,
    "latency": _latency,
    "many": _many,
    "pressure": _pressure,
    "router": _router,
    "pipelined": _pipelined,
    "producing": _producing,
    "watched": _watched,
    "sequencing": _sequencing,
    "tracing": _tracing,
    "takeover": _takeover,
    "languages": _languages,
    "exactly-once": _exactly_once,
    "lanes": lane_rows.rows,
}
"""Each function creates its topics and yields its rows one after the other; it continues when a row was run."""
