#!/usr/bin/env bash
# Gives one fuzzer ten seconds from a fixed seed; two minutes with COGNIVE_LONG=1: run.sh FUZZER FOUND CORPUS
# What breaks it is left beside FOUND; feed it again with: FUZZER FILE
set -euo pipefail
seconds=10
[ "${COGNIVE_LONG:-0}" = 0 ] || seconds=120
mkdir -p "$2"
exec "$1" -seed=1 -max_total_time=$seconds -max_len=20000 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
  -artifact_prefix="$2-" "$2" "$3"
