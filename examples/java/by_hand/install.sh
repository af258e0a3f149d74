#!/bin/sh
# install.sh FILE: makes FILE a program that starts what `mvn package` has built here.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$(dirname "$1")"
printf '#!/bin/sh\nexec java -cp "%s/target/classes:%s/target/lib/*" byhand.ByHand "$@"\n' "$here" "$here" >"$1"
chmod +x "$1"
