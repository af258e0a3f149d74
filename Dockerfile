# Three images of one build. `docker build .` makes the sidecar's. `--target lambda` has the SDK alone, for your lambdas to
# be copied into. `--target examples` has those of examples/ and what they import.

# The full image, and not the slim one, since it has a compiler for the sidecar's own extension.
FROM python:3.13-trixie AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1
# What goes into the images; pip stays outside.
RUN for each in lambda examples kafka-sidecar; do python -m venv --without-pip /opt/$each; done
# All that is pinned, each file checked against its hash, and wheels only: nothing of them is compiled.
COPY requirements/dev.txt ./
RUN python -m pip download --quiet --require-hashes --no-deps --only-binary :all: --dest wheels --requirement dev.txt
# Of these only what is asked for is installed, and the build backend comes from among them as well: with --no-index
# nothing else can get in.
COPY sdk_python ./sdk_python
RUN python -m pip --python /opt/lambda/bin/python install --quiet --no-index --find-links wheels "./sdk_python[config]"
RUN python -m pip --python /opt/examples/bin/python install --quiet --no-index --find-links wheels "./sdk_python[config]" confluent-kafka orjson pymongo
COPY pyproject.toml setup.py README.md LICENSE ./
COPY sidecar ./sidecar
RUN python -m pip --python /opt/kafka-sidecar/bin/python install --quiet --no-index --find-links wheels .

FROM python:3.13-slim-trixie AS base
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin kafka-sidecar
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# The config file belongs here: /app/config.yaml is what the commands read when they are not told another.
WORKDIR /app
USER 10001:10001
STOPSIGNAL SIGTERM

FROM base AS lambda
COPY --from=build /opt/lambda /opt/lambda
ENV PATH=/opt/lambda/bin:$PATH
# A lambda runs by: python -m sdk_python.serve NAME

FROM base AS examples
COPY --from=build /opt/examples /opt/examples
ENV PATH=/opt/examples/bin:$PATH
COPY examples ./examples

FROM base AS sidecar
COPY --from=build /opt/kafka-sidecar /opt/kafka-sidecar
ENV PATH=/opt/kafka-sidecar/bin:$PATH
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["kafka-sidecar", "status"]
CMD ["kafka-sidecar"]
