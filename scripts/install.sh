#!/bin/sh
# Installs this checkout into .venv, for the Makefile: scripts/install.sh PYTHON. A Python that is too old is told before
# anything is made. What fails half-way leaves no .venv that a later call would believe in.
set -eu
python=$1
old='import sys; sys.exit(sys.version_info < (3, 11))'

say() { echo "error: $*" >&2; }

if ! command -v "$python" >/dev/null; then
    say "there is no $python here. Install Python 3.11 or 3.12, or name one that is there: make ... PYTHON=python3.12"
    exit 2
fi
if ! "$python" -c "$old"; then
    say "Shelfmark needs Python 3.11 or 3.12, and $python is $("$python" --version 2>&1). Nothing was installed." \
        "Name another: make ... PYTHON=python3.12"
    exit 2
fi

# Of an install that was killed.
if [ -e .venv/begun ]; then rm -rf .venv; fi
if [ -d .venv ]; then
    if ! .venv/bin/python -c "$old; import pip" 2>/dev/null; then
        say ".venv was there before, and holds no Python of 3.11 or later that works. Remove it (make clean), then try again."
        exit 2
    fi
    fresh=
else
    fresh=yes
fi

give_up() {
    if [ "$fresh" ]; then rm -rf .venv; fi
    say "$1"
    exit 1
}
trap 'give_up "interrupted; the same command begins again."' INT TERM HUP

if [ "$fresh" ]; then
    mkdir .venv
    : >.venv/begun
    "$python" -m venv .venv ||
        give_up "$python cannot make a virtual environment (on Debian and Ubuntu: apt install python3-venv)."
fi
.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]' ||
    give_up "pip could not install; it says above why. The same command tries again, and does not download twice what came."
rm -f .venv/begun
