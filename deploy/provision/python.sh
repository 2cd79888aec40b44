#!/bin/sh
# Makes .venv in the checkout, or brings it up to date: the libraries of requirements.lock, each with its hash, and the
# project itself, editable. Harmless to repeat; does nothing when neither lock nor project description has changed.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/caravan
stamp=$top/.venv/.caravan-lock
say() { printf '%s\n' "$*" >&2; }

wanted=$(cat "$top/requirements.lock" "$top/pyproject.toml" | sha256sum | cut -d' ' -f1)
if [ -x "$top/.venv/bin/caravan-stack" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then exit 0; fi

# Names on PATH may be shims that fail: an interpreter counts only if it runs.
works() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }
find_python() {
  for candidate in python3.12 python3.13 python3.11 python3 /usr/bin/python3 \
    "$HOME"/.pyenv/versions/3.12*/bin/python "$HOME"/.pyenv/versions/3.13*/bin/python "$HOME"/.pyenv/versions/3.11*/bin/python; do
    if works "$candidate"; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  say "caravan: needs Python 3.11, 3.12 or 3.13 with venv; none runs, neither on PATH nor under ~/.pyenv/versions"
  exit 1
}

began=$(date +%s)
uv=$cache/uv/bin/uv
if ! "$uv" --version >/dev/null 2>&1; then
  say "caravan: installing uv in $cache/uv"
  python=$(find_python)
  rm -rf "$cache/uv"
  "$python" -m venv "$cache/uv"
  "$cache/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv
fi
if ! works "$top/.venv/bin/python"; then
  python=$(find_python)
  say "caravan: making .venv with $python"
  "$uv" venv --quiet --clear --python "$python" "$top/.venv"
fi
say "caravan: installing the libraries of requirements.lock"
"$uv" pip install --quiet --python "$top/.venv/bin/python" --require-hashes -r "$top/requirements.lock"
"$uv" pip install --quiet --python "$top/.venv/bin/python" --no-deps --editable "$top"
printf '%s\n' "$wanted" >"$stamp"
say "caravan: .venv is ready ($(($(date +%s) - began)) s)"
