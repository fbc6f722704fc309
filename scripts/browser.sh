#!/bin/sh
# What the tests of the service's page need beside Python: Debian's Chromium, and axe-core in the version that
# tests/browser/package-lock.json fixes. Who has a Chromium of his own names it: CHROMIUM=/path/to/chrome make test
set -eu
cd "$(dirname "$0")/../tests/browser"

say() { echo "error: $*" >&2; }

if [ -z "${CHROMIUM:-}" ] && ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null &&
    ! command -v google-chrome >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "there is no Chromium here. Install it (on Debian: apt install chromium), or name one: CHROMIUM=/path/to/chrome"
        exit 2
    fi
    apt-get update -q -o Acquire::Retries=3
    apt-get install -q -y -o Acquire::Retries=3 --no-install-recommends chromium
fi
# npm writes this file behind the packages.
installed=node_modules/.package-lock.json
if [ ! -f "$installed" ] || [ "$installed" -ot package-lock.json ]; then
    if ! command -v npm >/dev/null; then
        say "there is no npm here, which installs axe-core. Install Node.js 18 or later, which brings it."
        exit 2
    fi
    npm ci --ignore-scripts --no-audit --no-fund
    touch "$installed"
fi
