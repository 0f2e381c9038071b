#!/usr/bin/env bash
# Installs the npm packages of tests/npm/package.json, which only tests use, into build/npm: tools/npm_packages.sh
# Nothing is asked when they are there already.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=build/npm
# Written at the very end, so that an installation that broke off is begun anew.
installed=$packages/installed.json
cmp -s tests/npm/package.json "$installed" && [ -d "$packages/node_modules" ] && exit 0

echo "Installing npm packages into $packages" >&2
rm -rf "$packages"
mkdir -p "$packages"
cp tests/npm/package.json "$packages/package.json"
# The peer that pglite-socket asks for is the same program without TimescaleDB.
npm install --prefix "$packages" --legacy-peer-deps --no-audit --no-fund --no-package-lock --loglevel=error >&2
cp tests/npm/package.json "$installed"
