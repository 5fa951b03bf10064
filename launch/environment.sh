# Sourced by the launch scripts: `environment EXTRA…` activates an environment with the package in it.
# An active virtual environment (or conda's) is used as it is; otherwise .venv is made in the checkout.
# What is installed already, for the same pyproject.toml and extras, is not installed again.

environment() {
  local extras="$*" python stamp
  extras="${extras// /,}"
  if [[ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]]; then
    if [[ ! -x .venv/bin/python ]]; then
      python=$(newest_python)
      echo "making .venv with $("$python" --version)"
      "$python" -m venv .venv
    fi
    # shellcheck disable=SC1091
    source .venv/bin/activate
  fi
  stamp="$(python -c 'import sys; print(sys.prefix)')/.ssl_jax-$(
    { pwd; echo "$extras"; cat pyproject.toml; } | sha256sum | cut -c1-16
  )"
  if [[ ! -f "$stamp" ]]; then
    echo "installing ssl_jax${extras:+ with [$extras]} (a minute or two the first time)"
    python -m pip install --quiet --disable-pip-version-check --no-compile \
      --editable ".${extras:+[$extras]}"
    touch "$stamp"
  fi
}

newest_python() {
  local candidate
  for candidate in python3.13 python3.12 python3.11 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11 or newer was found on PATH; install one and start again" >&2
  exit 2
}

# `newest_environment`: makes .venv-newest anew, with the newest releases that pip finds whatever
# pyproject.toml caps, activates it, and says which caps that tried.
newest_environment() {
  local python
  python=$(newest_python)
  echo "making .venv-newest with $("$python" --version) and the newest releases"
  "$python" -m venv --clear .venv-newest
  # shellcheck disable=SC1091
  source .venv-newest/bin/activate
  python -m pip install --quiet --disable-pip-version-check packaging
  python launch/newest.py requirements > .venv-newest/requirements.txt
  python -m pip install --quiet --disable-pip-version-check --no-compile \
    --requirement .venv-newest/requirements.txt
  python -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --editable .
  python launch/newest.py caps
}
