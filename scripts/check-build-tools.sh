#!/bin/sh
# Stops with the cure in one line when llama-cpp-python has to be built and cannot be.
# cmake and ninja need not be installed: pip brings them, as build requirements of that package.
PYTHON=${PYTHON:-python3}

"$PYTHON" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("llama_cpp") is None)' && exit 0

for compiler in "${CXX:-}" c++ g++ clang++; do
    [ -n "$compiler" ] && command -v "$compiler" >/dev/null 2>&1 && found=$compiler && break
done
if [ -z "${found:-}" ]; then
    case $(uname -s) in
        Darwin) cure="xcode-select --install" ;;
        *)
            cure="install g++ or clang++ with your system's packages, or set CXX"
            command -v apk >/dev/null 2>&1 && cure="sudo apk add g++ linux-headers"
            command -v pacman >/dev/null 2>&1 && cure="sudo pacman -S gcc"
            command -v zypper >/dev/null 2>&1 && cure="sudo zypper install gcc-c++"
            command -v dnf >/dev/null 2>&1 && cure="sudo dnf install gcc-c++"
            command -v apt-get >/dev/null 2>&1 && cure="sudo apt-get install g++"
            ;;
    esac
    echo "error: no C++ compiler found (looked for \$CXX, c++, g++, clang++); llama.cpp is built from source" >&2
    echo "hint: $cure" >&2
    exit 1
fi
echo "llama.cpp is built with $found, once: some minutes on two cores; pip keeps the result in its cache" >&2
