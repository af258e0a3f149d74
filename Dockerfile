# One image for the sidecar and for the lambdas of examples/: they differ in their command alone.

# The full image, and not the slim one, since it has a compiler for the sidecar's own extension.
FROM python:3.13-trixie AS build
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1
# What goes into the image; pip stays outside.
RUN python -m venv --without-pip /opt/kafka-sidecar
# All that is pinned, each file checked against its hash, and wheels only: nothing of them is compiled.
COPY requirements/dev.txt ./
RUN python -m pip download --quiet --require-hashes --no-deps --only-binary :all: --dest wheels --requirement dev.txt
# Of these only what the project asks for is installed, and the build backend comes from among them as well:
# with --no-index nothing else can get in.
COPY pyproject.toml README.md LICENSE ./
COPY sidecar ./sidecar
COPY sdk_python ./sdk_python
RUN python -m pip --python /opt/kafka-sidecar/bin/python install --quiet --no-index --find-links wheels ".[examples]"

FROM python:3.13-slim-trixie
RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin kafka-sidecar
COPY --from=build /opt/kafka-sidecar /opt/kafka-sidecar
ENV PATH=/opt/kafka-sidecar/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# The config file belongs here: /app/config.yaml is what the commands read when they are not told another.
WORKDIR /app
COPY examples ./examples
USER 10001:10001
EXPOSE 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["kafka-sidecar", "status"]
CMD ["kafka-sidecar"]
