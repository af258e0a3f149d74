#!/bin/sh
# Builds these programs from the SDK's tarball: build.sh TARBALL OUT. Each of them is an executable in OUT.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tarball=$(realpath "$1")
rm -rf "$2"
mkdir -p "$2"
cd "$2"
cp "$here/package.json" .
npm install --no-audit --no-fund --loglevel=error --ignore-scripts --no-package-lock "$tarball"
sdk="$here/../../../sdk_typescript"
"$sdk/node_modules/.bin/prettier" --check --log-level warn "$here/src"
ln -s "$PWD/node_modules" "$here/node_modules" # where the compiler looks for the SDK
trap 'rm -f "$here/node_modules"' EXIT
"$sdk/node_modules/.bin/tsc" -p "$here" --outDir "$PWD/lib" --typeRoots "$sdk/node_modules/@types"
for program in conformance recorder noop copier; do
  printf '#!/bin/sh\nexec node "$(dirname "$0")/lib/%s.js" "$@"\n' "$program" > "$program"
  chmod +x "$program"
done
