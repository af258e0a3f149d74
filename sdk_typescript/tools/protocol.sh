#!/bin/sh
# Generates src/protocol from proto/lambda.proto. With --check it only says whether the committed file is current.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/kafka_sidecar/v1" # its path in the registry of descriptors
cp ../proto/lambda.proto "$work/kafka_sidecar/v1/"
PATH="$PWD/node_modules/.bin:$PATH" buf generate "$work" --template '{"version": "v2", "plugins":
  [{"local": "protoc-gen-es", "out": "'"$work"'", "opt": ["target=ts", "import_extension=js"]}]}'
if [ "${1:-}" = --check ]; then
  cmp -s "$work/kafka_sidecar/v1/lambda_pb.ts" src/protocol/lambda_pb.ts ||
    { echo "src/protocol is not what proto/lambda.proto generates: run make protocol" >&2; exit 1; }
else
  mkdir -p src/protocol
  cp "$work/kafka_sidecar/v1/lambda_pb.ts" src/protocol/
fi
