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

# The official clients of the tests, each for the Python that it wants; 23.9.10 looks into yarl, which was another then.
clients=deploy/caravan_deploy/client/requirements
for client in 23.9.10:3.11:'<1.10' 24.9.14:3.12: 25.5.2:3.12: 26.9.6:3.13:; do
  version=${client%%:*} rest=${client#*:}
  printf 'backend.ai-client==%s\nyarl%s\n' "$version" "${rest#*:}" |
    "$uv" pip compile --quiet --upgrade --no-header --no-annotate --python-version "${rest%%:*}" --python-platform linux \
      --output-file "$clients/$version.txt" -
done
