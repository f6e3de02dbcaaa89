#!/bin/sh
# Says in one line what is missing to build llama-cpp-python, and what installs it here.
#
#   check-build-tools.sh           before the build: fails when there is no C++ compiler
#   check-build-tools.sh explain   after a failed build: names cmake and ninja, which pip brings as
#                                  build requirements where it can
PYTHON=${PYTHON:-python3}

has() { command -v "$1" >/dev/null 2>&1; }

install_command() { # the command that installs a compiler, or cmake and ninja
    if [ "$(uname -s)" = Darwin ]; then
        [ "$1" = compiler ] && echo "xcode-select --install" || echo "brew install cmake ninja"
        return
    fi
    for manager in apt-get dnf zypper pacman apk; do has $manager && break || manager=none; done
    case $manager-$1 in
        apt-get-compiler) echo "sudo apt-get install g++" ;;
        apt-get-cmake) echo "sudo apt-get install cmake ninja-build" ;;
        dnf-compiler) echo "sudo dnf install gcc-c++" ;;
        dnf-cmake) echo "sudo dnf install cmake ninja-build" ;;
        zypper-compiler) echo "sudo zypper install gcc-c++" ;;
        zypper-cmake) echo "sudo zypper install cmake ninja" ;;
        pacman-compiler) echo "sudo pacman -S gcc" ;;
        pacman-cmake) echo "sudo pacman -S cmake ninja" ;;
        apk-compiler) echo "sudo apk add g++ linux-headers" ;;
        apk-cmake) echo "sudo apk add cmake ninja" ;;
        *-compiler) echo "install a C++ compiler with your system's packages" ;;
        *) echo "install cmake and ninja with your system's packages" ;;
    esac
}

if [ "${1:-}" = explain ]; then
    echo "error: the installation failed; pip says why above" >&2
    echo "hint: if cmake or ninja could not be found or fetched: $(install_command cmake)" >&2
    exit 1
fi

"$PYTHON" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("llama_cpp") is None)' && exit 0

for compiler in "${CXX:-}" c++ g++ clang++; do
    if [ -n "$compiler" ] && has "$compiler"; then
        echo "llama.cpp is built with $compiler, once; pip keeps the result in its cache" >&2
        exit 0
    fi
done
echo "error: no C++ compiler (\$CXX, c++, g++, clang++); llama.cpp is built from source" >&2
echo "hint: $(install_command compiler)" >&2
exit 1
