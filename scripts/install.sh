#!/usr/bin/env bash
# Installs what `make run` and `make test` need beside Go: redis-server and PostgreSQL, and in CI what only some tests want:
# PgBouncer, Chromium for the dashboard's, promtool for the alert rules', and Node and redis-py for the clients written in them.
# Does nothing when they are there. Debian's packages would start the servers as system services; a policy file keeps them stopped,
# because credproxy starts private ones of its own.
set -euo pipefail

has_postgres() {
  command -v postgres >/dev/null 2>&1 || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null ||
    [ -x /usr/local/pgsql/bin/postgres ]
}

has_redis_py() {
  # The package belongs to the system's Python, which need not be the first one on the path.
  /usr/bin/python3 -c 'import redis' >/dev/null 2>&1 || python3 -c 'import redis' >/dev/null 2>&1
}

missing=()
command -v redis-server >/dev/null 2>&1 || missing+=(redis-server)
has_postgres || missing+=(postgresql)
# Only some tests want these; they are skipped without, except in CI. A nodejs from elsewhere may bring its own npm.
if [ -n "${CI:-}" ]; then
  command -v pgbouncer >/dev/null 2>&1 || missing+=(pgbouncer)
  command -v node >/dev/null 2>&1 || missing+=(nodejs)
  command -v npm >/dev/null 2>&1 || missing+=(npm)
  has_redis_py || missing+=(python3-redis)
  command -v chromium >/dev/null 2>&1 || missing+=(chromium)
  command -v promtool >/dev/null 2>&1 || missing+=(prometheus)
fi
[ ${#missing[@]} -gt 0 ] || exit 0

give_up() {
  echo "install: $1. Please install: ${missing[*]}" >&2
  exit 1
}

command -v apt-get >/dev/null 2>&1 || give_up "this system has no apt-get"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  # -n: a build must not stop at a password prompt that nobody sees.
  command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null ||
    give_up "not root, and sudo is missing or wants a password"
  as_root=(sudo -n)
fi

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi

install_missing() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y --no-install-recommends "${missing[@]}" </dev/null
}

echo "install: ${missing[*]}" >&2
# The package lists of a fresh machine are empty or old: refresh them only when they turn out to be.
install_missing || { "${as_root[@]}" apt-get update </dev/null && install_missing; } || give_up "apt-get failed"

command -v redis-server >/dev/null 2>&1 && has_postgres || give_up "still not found after apt-get"
