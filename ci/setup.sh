#!/usr/bin/env bash
# Makes .venv from ci/constraints.txt and checks what the simulator needs from the system.
#
#   ci/setup.sh             quick when nothing changed; may be interrupted and may run twice at once
#   PYTHON=/path/to/python3 chooses the interpreter (default: the first of 3.11 or later on PATH)
#   PIP_EXTRA_INDEX_URL     and pip's other variables are honoured: the way to a CPU build of torch or a mirror
#
# Exit status: 0 ready; 2 something of the system is missing (the line printed says what to run); else pip's own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 2; }

readonly venv=.venv stamp=.venv/etchproof-stamp unfinished=.venv/etchproof-unfinished
readonly min_gxx=11

# ---- one at a time: the lock goes with the process, also when it is killed
exec 9>.setup.lock
if command -v flock >/dev/null; then
  flock -n 9 || { say "another set-up of this folder is running, waiting for it"; flock 9; }
fi

# ---- system packages
apt_updated=no
# need PACKAGE...: installs them when root and apt is here, otherwise says the command and exits 2.
need() {
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    fail "missing system packages; run as root: apt-get update && apt-get install -y --no-install-recommends $*"
  fi
  say "installing system packages: $*"
  if [ "$apt_updated" = no ]; then
    apt-get update -qq 9>&- || fail "apt-get update failed"
    apt_updated=yes
  fi
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 9>&- \
    || fail "apt-get could not install: $*"
}

# The interpreter's "3.11" when it runs and is new enough, otherwise nothing.
minor_of() {
  "$1" -c 'import sys; v = sys.version_info; print(f"{v[0]}.{v[1]}" if v >= (3, 11) else "")' 2>/dev/null || true
}

# First of python3 and its versioned names that is new enough.
find_python() {
  local name
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$name" >/dev/null && [ -n "$(minor_of "$name")" ]; then
      command -v "$name"
      return
    fi
  done
}

# cocotb loads libpython into the simulator; the same places as find_libpython, which cocotb asks.
readonly libpython_probe='
import ctypes, os, sys, sysconfig
get = sysconfig.get_config_var
names = [get("INSTSONAME"), get("LDLIBRARY"), "libpython%s.so" % get("VERSION")]
names = [name for name in names if name and ".so" in name]
places = [p for p in (get("LIBPL"), get("LIBDIR"), sys.exec_prefix + "/lib") if p]
def loads(name):
    try:
        return bool(ctypes.CDLL(name))
    except OSError:
        return False
sys.exit(not any(loads(n) or any(os.path.isfile(os.path.join(p, n)) for p in places) for n in names))
'

# Adds what PYTHON lacks to the array `wanted`.
check_python() {
  local lacks=()
  "$python" -c 'import ensurepip, venv' 2>/dev/null || lacks+=("python$minor-venv")
  "$python" -c "$libpython_probe" 2>/dev/null || lacks+=("libpython$minor")
  [ ${#lacks[@]} -eq 0 ] && return
  case "$(readlink -f "$python")" in
    /usr/bin/*) wanted+=("${lacks[@]}") ;;
    *) fail "$python has no ${lacks[*]} (its venv module or shared library); set PYTHON to another interpreter" ;;
  esac
}

check_tools() {
  command -v g++ >/dev/null || wanted+=(g++)
  command -v make >/dev/null || wanted+=(make)
  # Verilator is a Perl script; a minimal Debian has perl-base, without the modules that it uses.
  perl -MFindBin -MGetopt::Long -MIO::File -MPod::Usage -MCwd -e 1 2>/dev/null || wanted+=(perl)
}

wanted=()
python=$(find_python)
if [ -n "${PYTHON:-}" ]; then
  python=$(command -v "$PYTHON") || fail "PYTHON=$PYTHON is not an executable"
fi
if [ -z "$python" ]; then
  if command -v python3 >/dev/null; then
    fail "$(python3 --version) is too old: install Python 3.11 or later, or set PYTHON to one"
  fi
  wanted+=(python3 python3-venv libpython3-dev)  # no version is known yet; libpython3-dev brings the matching library
  minor=
else
  minor=$(minor_of "$python")
  [ -n "$minor" ] || fail "$python is not a Python of 3.11 or later"
  check_python
fi
check_tools

if [ ${#wanted[@]} -gt 0 ]; then
  need "${wanted[@]}"
  python=${python:-$(find_python)}
  [ -n "$python" ] || fail "the system's Python is older than 3.11: set PYTHON to a newer one"
  minor=$(minor_of "$python")
  wanted=()
  check_python
  check_tools
  [ ${#wanted[@]} -eq 0 ] || fail "still missing after the installation: ${wanted[*]}"
fi

gxx=$(g++ -dumpversion)
[ "${gxx%%.*}" -ge "$min_gxx" ] || fail "g++ $gxx is too old: $min_gxx or later is needed (C++20 coroutines)"

# ---- the virtual environment
base="$("$python" -c 'import platform, sys; print(platform.python_version(), sys.base_prefix)') in $PWD"
files=$(cat pyproject.toml ci/constraints.txt | sha256sum | cut -d ' ' -f 1)

if [ -f "$stamp" ] && [ ! -e "$unfinished" ] && [ "$(cat "$stamp")" = "$base $files" ] && [ -x "$venv/bin/python" ]; then
  say "$venv is up to date"
  exit 0
fi

# Another interpreter, a moved folder or an interrupted run: begin again. Changed dependencies: install over it.
if [ -e "$unfinished" ] || [ ! -f "$stamp" ] || [ "$(sed 's/ [^ ]*$//' "$stamp")" != "$base" ] \
  || ! "$venv/bin/python" -c '' 2>/dev/null; then
  rm -rf "$venv"
  say "making $venv with $python ($("$python" --version))"
  mkdir "$venv"
  : >"$unfinished"
  "$python" -m venv "$venv"
fi
: >"$unfinished"

say "installing the pinned packages (a few minutes the first time)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c ci/constraints.txt -e '.[test,lint,bench]' 9>&-

printf '%s\n' "$base $files" >"$stamp"
rm "$unfinished"
say "$venv is ready"
