#!/bin/sh
# install.sh TARGET FOLDER: puts the built programs into FOLDER, each as an executable file.
set -eu
target=$1
folder=$2
mkdir -p "$folder/lib"
cp "$target"/lib/*.jar "$target/clients.jar" "$folder/lib/"
for program in Conformance Recorder Noop Copier; do
    file="$folder/$(echo "$program" | tr '[:upper:]' '[:lower:]')"
    cat >"$file" <<END
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
exec java \${JAVA_OPTIONS--XX:+UseSerialGC -XX:TieredStopAtLevel=1} \\
    "-Djava.util.logging.SimpleFormatter.format=%1\$tFT%1\$tT %4\$s %5\$s%n" -cp "\$here/lib/*" clients.$program "\$@"
END
    chmod +x "$file"
done
