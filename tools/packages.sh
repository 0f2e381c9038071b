#!/usr/bin/env bash
# Installs the Debian packages that are missing: tools/packages.sh build [test]
# Everything is a package of Debian 12; nothing is asked when nothing is missing.
set -euo pipefail

build=(clang-19 lld-19 cmake ninja-build ccache pkg-config libboost1.81-dev libboost-url1.81-dev libpq-dev libfmt-dev
  libspdlog-dev libcli11-dev libsimdjson-dev libargon2-dev libjwt-dev libhiredis-dev librabbitmq-dev libpugixml-dev libre2-dev libssl-dev zlib1g-dev libcurl4-openssl-dev
  prometheus-cpp-dev libgtest-dev postgresql-15 ca-certificates)
test=(libclang-rt-19-dev clang-format-19 clang-tidy-19 git python3 python3-pytest python3-pytest-xdist python3-requests python3-psycopg2
  python3-jsonschema python3-aiosmtpd python3-cryptography redis-server rabbitmq-server ceph-mon ceph-osd radosgw ceph-common python3-pika python3-celery python3-redis procps curl)
# Node.js is often there already from elsewhere, and Debian's would not go beside it.
command -v node >/dev/null || build+=(nodejs)
command -v npm >/dev/null || build+=(npm)

wanted=()
for group in "$@"; do
  case "$group" in
    build) wanted+=("${build[@]}") ;;
    test) wanted+=("${test[@]}") ;;
    *) echo "packages.sh: there is no group $group (build, test)" >&2; exit 2 ;;
  esac
done

missing=()
for package in "${wanted[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "Installing ${#missing[@]} Debian packages: ${missing[*]}" >&2
as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "packages.sh: run this as root once, or install sudo" >&2; exit 1; }
  as_root=(sudo)
fi
# PostgreSQL's package would otherwise create and start a cluster on port 5432; we bring our own.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
  "${as_root[@]}" mkdir -p /etc/postgresql-common
  echo 'create_main_cluster = false' | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
