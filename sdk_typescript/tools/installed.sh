#!/bin/sh
# Installs a tarball where nothing else is, and uses it as an ES module and as CommonJS, in types and in fact.
set -eu
tarball=$(realpath "$1")
bin=$(realpath "$(dirname "$0")/../node_modules/.bin")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > program.ts <<'END'
import { LambdaCloseType, ProduceError, serve, type IContext, type Message } from "kafka-sidecar-sdk";
import { FakeSidecar } from "kafka-sidecar-sdk/testing";

const handle = (message: Message, context: IContext): void => context.checkpoint(message);
async function main(): Promise<void> {
  const sidecar = await FakeSidecar.start(handle);
  await sidecar.feed("one", "two");
  await sidecar.stop();
  if (sidecar.checkpoint !== 1 || typeof serve !== "function") throw new Error("it does not work");
  if (LambdaCloseType.Stop !== "Stop" || !(new ProduceError("", "", "failed") instanceof Error)) throw new Error("types");
}
void main();
END
for kind in module commonjs; do
  echo '{"name": "installed", "private": true, "type": "'$kind'"}' > package.json
  npm install --no-audit --no-fund --loglevel=error --ignore-scripts --prefer-offline "$tarball"
  "$bin/tsc" --strict --target es2022 --lib es2022,esnext.disposable --module nodenext --types node \
    --typeRoots "$bin/../@types" program.ts
  node program.js
done
