#!/bin/sh
# Makes .venv, once, and again when pyproject.toml has changed, the checkout was moved or .venv no longer works.
# Until the Python is found only the shell's own commands are used: on a bare machine a message has to come through.
set -eu

stamp=.venv/.stamp
fail() { printf 'imlib: %s\n' "$1" >&2; exit 1; }
runs() { "$@" >/dev/null 2>&1; }

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$PWD" ] && runs .venv/bin/python -c '' &&
   [ -z "$(find pyproject.toml tools/setup.sh -newer "$stamp")" ]; then
    exit 0
fi

uv=
runs uv --version && uv=yes

python= incomplete=
for candidate in python3.13 python3.12 python3.11 python3 python; do
    # Run, not looked up: a version manager's shim can be on the PATH and lead nowhere.
    runs "$candidate" -c 'import sys, sqlite3, ssl; sys.exit(sys.version_info < (3, 11))' || continue
    # uv brings its own venv and pip; Debian's Python comes without either.
    if [ -n "$uv" ] || runs "$candidate" -c 'import ensurepip, venv'; then
        # The interpreter itself, in case the name leads into a .venv that is about to be removed.
        python=$("$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))')
        break
    fi
    incomplete=$candidate
done
if [ -z "$python" ]; then
    [ -z "$incomplete" ] || fail "$incomplete has no venv and ensurepip: apt-get install python3-venv (Debian, Ubuntu), or install uv"
    fail "no working Python 3.11 or newer (with ssl and sqlite3) as python3.13, python3.12, python3.11, python3 or python on the PATH: install one"
fi

if [ -n "$uv" ]; then installer=uv; else installer=pip; fi
printf 'Setting up .venv with %s and %s: once, a minute or two.\n' "$("$python" -V)" "$installer" >&2

# An existing .venv is kept when the installer can work with it: then only what changed is installed.
if ! runs .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
   { [ -z "$uv" ] && ! runs .venv/bin/python -m pip --version; }; then
    rm -rf .venv
    if [ -n "$uv" ]; then uv venv --quiet --python "$python" .venv; else "$python" -m venv .venv; fi ||
        fail 'could not make .venv (see above)'
fi
rm -f "$stamp"
if [ -n "$uv" ]; then
    uv pip install --quiet --python .venv/bin/python --editable '.[dev]'
else
    .venv/bin/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
fi || fail 'could not install the packages (see above); make starts where it stopped'

# The first import of matplotlib's fonts can print to stderr, and the notebooks' stderr is compared.
runs .venv/bin/python -c 'import matplotlib.font_manager' || fail 'matplotlib cannot be imported from .venv: make clean, then try again'
printf '%s' "$PWD" > "$stamp"
