"""Token, TLS, and offers that the sidecar refuses."""

from __future__ import annotations

import grpc

from sidecar.conformance.case import Security, case
from sidecar.conformance.events import Kind
from sidecar.conformance.stage import Stage


async def _works(stage: Stage) -> None:
    await stage.spare(rule=48)
    stream = await stage.running()
    await stream.records(0)
    await stage.checkpointed(stream, 0)


@case("token", 48, "Streams and calls carry the token.", do="copy=out checkpoint=1", security=Security.TOKEN)
async def token(stage: Stage) -> None:
    await _works(stage)


@case("tls", 48, "TLS: the client trusts KAFKA_SIDECAR_CA.", do="copy=out checkpoint=1", security=Security.TLS)
async def tls(stage: Stage) -> None:
    await _works(stage)


@case("mutual-tls", 48, "TLS on both sides: the client shows its certificate.",
      do="copy=out checkpoint=1", security=Security.MUTUAL)  # fmt: skip
async def mutual_tls(stage: Stage) -> None:
    await _works(stage)


@case("tls-foreign-authority", 48, "TLS with a sidecar that KAFKA_SIDECAR_CA has not signed: nothing is offered.",
      security=Security.FOREIGN, ends=False)  # fmt: skip
async def tls_foreign_authority(stage: Stage) -> None:
    await stage.until(lambda: stage.last(Kind.CONNECTED), "a connection", 47)
    await stage.never(
        lambda: stage.streams, "a stream was opened to a sidecar that the client must not trust", timeout=3
    )


async def _first_refused(stage: Stage, status: grpc.StatusCode, text: str) -> None:
    stage.host.refusal = (status, text)
    await stage.program.start()
    code = await stage.exited(46, 20)
    stage.check(code not in (0, 126, 127) and code < 128, f"the process ended with {code}; an error is asked for")
    stage.check(text in stage.program.output, f"the output does not name the cause, {text!r}")


@case("unknown-lambda", 46, "The first Offer is refused (NOT_FOUND): the process ends with an error and the reason.",
      starts=False, ends=False)  # fmt: skip
async def unknown_lambda(stage: Stage) -> None:
    await _first_refused(stage, grpc.StatusCode.NOT_FOUND, "the config has no such lambda")


@case("version-too-old", 46, "FAILED_PRECONDITION: likewise.", starts=False, ends=False)
async def version_too_old(stage: Stage) -> None:
    await _first_refused(stage, grpc.StatusCode.FAILED_PRECONDITION, "version 1 is too old")


@case("no-token", 46, "UNAUTHENTICATED: likewise.", starts=False, ends=False)
async def no_token(stage: Stage) -> None:
    await _first_refused(stage, grpc.StatusCode.UNAUTHENTICATED, "the token is wrong")


@case("invalid-offer", 46, "INVALID_ARGUMENT: likewise.", starts=False, ends=False)
async def invalid_offer(stage: Stage) -> None:
    await _first_refused(stage, grpc.StatusCode.INVALID_ARGUMENT, "offer.instance: too long")


@case("refused-later", 46, "A later Offer is refused: the process stays, works on, and asks again after 5 to 30 s.",
      do="checkpoint=1", time_limit=70)  # fmt: skip
async def refused_later(stage: Stage) -> None:
    spare = await stage.spare()
    stage.host.refusal = (grpc.StatusCode.NOT_FOUND, "the config has no such lambda")
    stream = await stage.running()
    assert stream is spare
    await stage.until(lambda: len(stage.streams) == 2, "the next spare stream", 4)
    await stream.records(0)
    await stage.checkpointed(stream, 0, 9)
    # One more Offer may follow at once. The client may be writing Available when the status comes: then some gRPC
    # libraries fail the write, and the client knows of a broken stream alone.
    await stage.never(lambda: len(stage.streams) > 3, "a third Offer within 2.4 s after a refusal", timeout=2.4)
    count = len(stage.streams)
    await stage.until(lambda: len(stage.streams) > count, "another Offer after the refused one", timeout=35)
    stage.host.refusal = None
    await stage.spare(35)


@case("secrets-stay-secret", 48, "The token is in no output.", do="checkpoint=1", security=Security.TOKEN)
async def secrets_stay_secret(stage: Stage) -> None:
    await _works(stage)
    shown = stage.program.output
    stage.check("conformance-token" not in shown, "the token is in what the process wrote")
    stage.check(stage.last(Kind.CALL) is not None, "no call came")
