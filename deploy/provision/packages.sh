#!/bin/sh
# Installs the Debian packages that this machine lacks, and nothing where all are there. Harmless to repeat.
#
# Debian starts PostgreSQL, Redis and HAProxy on their usual ports as it installs them. Caravan runs its own on Nomad, so
# for the time of the installation a policy forbids every start, and what came newly is disabled at boot (Docker apart).
set -eu

missing=""
need() { # need PACKAGE COMMAND...: PACKAGE is missing unless the command succeeds
  package=$1
  shift
  "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has() { command -v "$1"; }
has_postgresql() { ls /usr/lib/postgresql/*/bin/initdb; }
has_venv() { /usr/bin/python3 -c 'import ensurepip, venv'; }

PATH=$PATH:/usr/sbin:/sbin
need ca-certificates test -e /etc/ssl/certs/ca-certificates.crt
need python3 test -x /usr/bin/python3
need python3-venv has_venv
need docker.io has dockerd
need docker.io has docker
need postgresql has_postgresql
need redis-server has redis-server
need haproxy has haproxy
need debootstrap has debootstrap
need util-linux has setpriv
need iproute2 has ip
need make has make
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
[ -n "${missing# }" ] || exit 0

say() { printf '%s\n' "$*" >&2; }
if ! command -v apt-get >/dev/null 2>&1; then
  say "caravan: this machine has no apt; install what these Debian packages hold, then try again: $missing"
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  say "caravan: these Debian packages are missing, and installing them needs root or sudo: $missing"
  exit 1
fi

policy=/usr/sbin/policy-rc.d
kept=""
if [ -e "$policy" ]; then
  kept=$(mktemp)
  cp -p "$policy" "$kept"
fi
restore() {
  if [ -n "$kept" ]; then mv "$kept" "$policy"; else rm -f "$policy"; fi
}
trap restore EXIT INT TERM
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

began=$(date +%s)
say "caravan: installing with apt: $missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# shellcheck disable=SC2086 - one word a package
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
  tail -n 5 "$log" >&2
  say "caravan: apt could not install them; $log says all that it said"
  exit 1
fi
rm -f "$log"
if [ -d /run/systemd/system ]; then
  for service in postgresql redis-server haproxy; do
    case " $missing " in *" $service "*) systemctl disable --quiet "$service" || true ;; esac
  done
fi
say "caravan: packages installed in $(($(date +%s) - began)) s; their services are neither started nor enabled, Caravan runs its own"
