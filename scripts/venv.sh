# Sourced by the scripts, from the root of the checkout: the virtual environment of the project.
#
#   ensure_venv EXTRAS [UV_OPTIONS]   makes it if needed, and installs the project with these extras, e.g. test,gcp or "";
#                                     with options for uv, by uv instead of pip
#
# MULTIHOT_VENV names another folder than .venv.
#
# shellcheck shell=bash

venv=${MULTIHOT_VENV:-.venv}
python=$venv/bin/python

ensure_venv() {
  local extras=$1 wanted compile=--compile
  local stamp=$venv/.installed-$extras
  shift
  # These files determine the installed packages. The environment contains the path of the checkout, which may have been
  # moved or copied.
  wanted=$(pwd && cat setup.cfg pyproject.toml)
  if [[ -x $python && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    return
  fi
  _make_venv
  echo "Installing multihot${extras:+[$extras]} into $venv. This downloads packages and takes some minutes ..."
  if [[ $# == 0 ]]; then
    # To compile all modules took 40% of an installation. Python compiles those that are imported, and keeps what it has
    # compiled unless this variable is set: then each import of TensorFlow took 16 seconds in place of 5.
    if [[ -z ${PYTHONDONTWRITEBYTECODE:-} ]]; then
      compile=--no-compile
    fi
    _logged "$python" -m pip install --disable-pip-version-check "$compile" --editable ".${extras:+[$extras]}"
  else
    _logged "$python" -m pip install --disable-pip-version-check uv
    _logged "$python" -m uv pip install --python="$python" "$@" --editable ".${extras:+[$extras]}"
  fi
  echo "$wanted" >"$stamp"
}

# Leaves a working environment alone, whoever made it, and replaces one that has lost its Python.
_make_venv() {
  local found
  if "$python" --version &>/dev/null; then
    _supported "$python" || _fail "$venv has $("$python" --version), not 3.11 to 3.13. Remove it, then try again."
    "$python" -m pip --version &>/dev/null || _logged "$python" -m ensurepip
    return
  fi
  if [[ -d $venv && ! -f $venv/pyvenv.cfg && -n $(ls -A "$venv") ]]; then
    _fail "$venv is not a virtual environment. Move it away, or choose another folder: MULTIHOT_VENV=FOLDER"
  fi
  found=$(_find_python) || exit 1
  echo "Making the virtual environment $venv with $("$found" --version) ..."
  mkdir -p "$venv"
  _logged "$found" -m venv --clear "$venv"
  # So that git and the linters pass it over, whatever it is called.
  echo '*' >"$venv/.gitignore"
}

_find_python() {
  local name
  for name in python3.11 python3.12 python3.13 python3 python; do
    if command -v "$name" >/dev/null && _supported "$name"; then
      command -v "$name"
      return
    fi
  done
  _fail "Python 3.11, 3.12 or 3.13 is needed, and none of them is on PATH."
}

_supported() {
  "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' &>/dev/null
}

# Runs a command whose output matters only if it fails.
_logged() {
  local output
  if ! output=$("$@" 2>&1); then
    echo "$output" >&2
    _fail "this failed, see above: $*"
  fi
}

_fail() {
  echo "error: $*" >&2
  exit 1
}
