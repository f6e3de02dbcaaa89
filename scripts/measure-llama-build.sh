#!/bin/sh
# CPU seconds of building llama-cpp-python's libraries, by part; the table in docs/experiments.md.
#
#   measure-llama-build.sh SOURCE [cmake options]
#
# SOURCE is an unpacked source distribution: pip download --no-deps --no-binary :all: llama-cpp-python
set -eu
source=$(cd "$1" && pwd)
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat >"$work/timed" <<'LAUNCHER'
#!/bin/bash
TIMEFORMAT="%U %S ${@: -1}"
{ time "$@" 2>/dev/null; } 2>>"$(dirname "$0")/seconds"
LAUNCHER
chmod +x "$work/timed"

cmake -S "$source" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DSKBUILD_PLATLIB_DIR="$work/install" \
    -DCMAKE_C_COMPILER_LAUNCHER="$work/timed" -DCMAKE_CXX_COMPILER_LAUNCHER="$work/timed" \
    "$@" >"$work/configure"
echo "steps: $(ninja -C "$work/build" -n | tail -n 1 | sed 's/.*\/\([0-9]*\)\].*/\1/')"
ninja -C "$work/build" >"$work/log"
awk '{ part = ($3 ~ /\/common\/|httplib/) ? "common and http library" : "everything else"
       seconds[part] += $1 + $2; files[part]++ }
     END { for (part in seconds) printf "%s: %.0f CPU s, %d files\n", part, seconds[part], files[part] }' \
    "$work/seconds"
