# Shared by run and check: one temporary workspace, removed at the end, with a copy of the sources, so that the checkout stays as it is.
set -euo pipefail
exec </dev/null
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH PYTHONHOME

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
workspace=$(mktemp -d)
trap 'rm -rf "$workspace"' EXIT
source=$workspace/source

title() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "$0" "$*" >&2; exit 1; }

# python_at_least MAJOR MINOR [NAME...]: the first interpreter of the names that runs and is new enough; PYTHON goes first.
python_at_least() {
  local major=$1 minor=$2 name
  shift 2
  for name in ${PYTHON:+"$PYTHON"} "${@:-python3}"; do
    if "$name" -c "import sys, venv, ensurepip; sys.exit(sys.version_info < ($major, $minor))" 2>/dev/null; then
      "$name" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  die "no Python $major.$minor or newer with venv found (set PYTHON to one)"
}

# copy_source FOLDER: what a clone would have, without what a build left behind.
copy_source() {
  mkdir -p "$1"
  tar -C "$root" --exclude=./.git --exclude=./build --exclude=./dist --exclude='./*.egg-info' --exclude='./.venv*' --exclude='./.*_cache' \
    --exclude=__pycache__ --exclude='*.so' --exclude='*.o' --exclude=./fastnn/_core.c -cf - . | tar -C "$1" -xf -
}

# make_venv FOLDER [PYTHON]
make_venv() { "${2:-$(python_at_least 3 11 python3 python3.14 python3.13 python3.12 python3.11)}" -m venv "$1"; }

# pins NAME...: the requirements of the extra `dev` with these names, one a line; pyproject.toml is the one place that states them.
pins() {
  "$workspace/venv/bin/python" - "$source/pyproject.toml" "$@" <<'PY'
import re, sys, tomllib
dev = tomllib.load(open(sys.argv[1], "rb"))["project"]["optional-dependencies"]["dev"]
for name in sys.argv[2:]:
    print(*[pin for pin in dev if re.match(rf"{name}\b", pin)] or sys.exit(f"pyproject.toml: the extra dev has no {name}"))
PY
}

install_lint() { local wanted; wanted=$(pins ruff mypy); xargs -d '\n' "$workspace/venv/bin/pip" install -q <<<"$wanted"; }

lint() { (cd "$source" && "$workspace/venv/bin/ruff" check --no-cache . && "$workspace/venv/bin/mypy" --cache-dir=/dev/null); }

# compile_c COMPILER PROGRAM TEST [FLAG...]: a C test with all of csrc, floating point as setup.py has it; from the sources' folder.
compile_c() {
  local compiler=$1 program=$2 test=$3
  shift 3
  "$compiler" -std=c11 -g -ffp-contract=off -fno-math-errno -fno-trapping-math -Icsrc "$@" -o "$program" "$test" csrc/*.c -lm -pthread
}
