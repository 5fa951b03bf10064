# Sourced by the launch scripts: `environment EXTRA…` activates an environment with the package, and
# `preload_allocator` makes what follows keep its memory.
# Uses the active virtual or conda environment if there is one, and otherwise .venv in the checkout,
# which it creates if needed. Installs the package unless it has already done so for the same
# pyproject.toml and extras.

# Large arrays in huge pages: on a CPU, XLA gets gigabytes from the kernel in each step, which takes an
# eighth of the time of MAE's to clear them in small ones. Only glibc from 2.35 on reads it.
export GLIBC_TUNABLES="${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}"

environment() {
  local extras="$*" python stamp
  extras="${extras// /,}"
  if [[ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]]; then
    if [[ ! -x .venv/bin/python ]]; then
      python=$(newest_python)
      echo "creating .venv with $("$python" --version)"
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

# On a CPU: with TCMalloc, where it is installed (Debian: libtcmalloc-minimal4), the process keeps that
# memory from step to step, which saves another seventh of the time of MAE's.
preload_allocator() {
  local library
  library=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null |
    sed -nE 's|.* => (.*/libtcmalloc(_minimal)?\.so[.0-9]*)$|\1|p' | head -n 1) || true
  if [[ -n "$library" && -z "${LD_PRELOAD:-}" ]]; then
    export LD_PRELOAD="$library"
    export TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD="${TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD:-$((1 << 40))}"
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
  echo "error: PATH: found no Python 3.11 or newer; install one and start again" >&2
  exit 2
}

# `newest_environment`: recreates .venv-newest with the newest releases that pip finds, ignoring the
# upper bounds in pyproject.toml, activates it, and prints which upper bounds are exceeded.
newest_environment() {
  local python
  python=$(newest_python)
  echo "creating .venv-newest with $("$python" --version) and the newest releases"
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
