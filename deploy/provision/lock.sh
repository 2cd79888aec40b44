#!/bin/sh
# Pins all libraries, those of the rooms and those of development, in requirements.lock: versions and hashes, no addresses.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
uv=${XDG_CACHE_HOME:-$HOME/.cache}/caravan/uv/bin/uv
cd "$top"
"$uv" lock --quiet --upgrade
"$uv" export --quiet --all-extras --all-groups --no-emit-project --no-header --format requirements-txt --output-file requirements.lock
rm -f uv.lock
printf 'caravan: %s libraries pinned in requirements.lock\n' "$(grep -c '^[a-zA-Z0-9].*==' requirements.lock)" >&2
