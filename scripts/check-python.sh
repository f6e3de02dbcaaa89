#!/bin/sh
# Stops with the cure in one line when $PYTHON cannot make the virtual environment.
PYTHON=${PYTHON:-python3}

fail() {
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit 1
}

command -v "$PYTHON" >/dev/null 2>&1 ||
    fail "there is no $PYTHON" "install Python 3.11, 3.12 or 3.13, or name one: make demo PYTHON=/path/to/python3.12"

version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])') ||
    fail "$PYTHON does not run" "name another one: make demo PYTHON=/path/to/python3.12"
case $version in
    3.11 | 3.12 | 3.13) ;;
    *) fail "$PYTHON is Python $version; edgecritic needs 3.11, 3.12 or 3.13" "name one: make demo PYTHON=python3.12" ;;
esac

"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$PYTHON has no venv module" "Debian and Ubuntu keep it apart: sudo apt-get install python$version-venv"
