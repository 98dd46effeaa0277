# The pinned Python environment of this checkout: made at the first call, found at once afterwards.
#
# Sourced by scripts/edgekit and scripts/test. It needs bash, Python 3.11 and pip; pip takes its index and mirrors from
# its own configuration. EDGEKIT_VENV names another folder than .venv. Everything said here goes to stderr, because
# stdout belongs to the program that is called.
#
# A stamp is written last, so an environment that was interrupted half-way is made again; one call makes it while
# others wait; a changed lock makes a fresh one.
set -euo pipefail

checkout=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
venv_setting=${venv_setting:-EDGEKIT_VENV} # the variable that names another folder
venv=${!venv_setting:-$checkout/${venv_default:-.venv}}
[[ $venv == /* ]] || venv=$PWD/$venv
mark=$venv/.edgekit-environment # what we made ourselves, and may therefore remove
NEEDED_KIB=$((4 * 1024 * 1024))

# need_environment edgekit|dev: returns when the packages of envs/<name>.lock and edgekit itself are installed.
need_environment() {
  local name=$1
  if is_ready "$name"; then return; fi
  command -v flock >/dev/null || fail 10 "the program flock is missing. Install util-linux."
  {
    flock --nonblock 9 || { say "waiting for another call that makes the environment" && flock 9; }
    # Not `is_ready || make_environment`: bash would ignore every failure inside.
    if ! is_ready "$name"; then make_environment "$name"; fi
  } 9<"${BASH_SOURCE[0]}"
}

is_ready() {
  local stamp=$mark/$1
  [[ -f $stamp && $(<"$stamp") == "$(fingerprint "$1")" ]]
}

# What the environment was made from. The checkout's own place counts: scripts in the environment contain it.
fingerprint() (
  cd "$checkout" && echo "$venv $checkout" && sha256sum "envs/$1.lock" envs/edgekit.lock pyproject.toml
)

make_environment() {
  local name=$1 packages=$mark/packages lock_digest
  lock_digest=$(sha256sum <"$checkout/envs/edgekit.lock")
  if [[ ! -f $packages || $(<"$packages") != "$lock_digest $venv" ]]; then
    make_empty "a few minutes, 3 GB"
    install_lock edgekit
    echo "$lock_digest $venv" >"$packages"
  fi
  [[ $name == edgekit ]] || install_lock "$name"
  say "installing edgekit itself"
  run_pip --quiet --editable "$checkout" --no-deps --no-build-isolation
  "$venv/bin/python" -m compileall -q "$checkout/edgekit" || true # a read-only checkout works too, only slower
  fingerprint "$name" >"$mark/$name"
  say "the environment is ready: $venv"
}

make_empty() { # make_empty COST: what to say of the time and the space that it will take
  local python
  python=$(find_python)
  if [[ -e $venv && ! -d $mark && -n $(ls -A "$venv") ]]; then
    fail 2 "$venv is there already and was not made by this script. Remove it, or name another folder in $venv_setting."
  fi
  mkdir -p "$mark" || fail 2 "$venv can't be made. Name another folder in $venv_setting."
  # The stamps go first and the mark stays: an interrupted removal is neither ready nor somebody else's.
  find "$mark" -type f -delete
  find "$venv" -mindepth 1 -maxdepth 1 ! -path "$mark" -exec rm -rf {} +
  enough_space "$venv" "$NEEDED_KIB" "$venv_setting"
  say "first call: making the pinned environment in $venv ($1)"
  "$python" -m venv --without-pip "$venv" ||
    fail 10 "$python can't make virtual environments. On Debian: apt install python3.11-venv"
  echo "$python" >"$mark/made-by"
}

find_python() {
  local candidate
  for candidate in python3.11 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      "$candidate" -m pip --version >/dev/null 2>&1 ||
        fail 10 "$(command -v "$candidate") has no pip. Run: $candidate -m ensurepip, or on Debian: apt install python3-pip"
      "$candidate" -c 'import sys; print(sys.executable)' # a shim's choice may change later
      return
    fi
  done
  fail 10 "Python 3.11 is needed and was not found as python3.11, python3 or python; python3 here is $(python3 --version 2>&1 || true)."
}

enough_space() { # enough_space FOLDER KIB SETTING: SETTING is the variable that names another folder
  local free
  free=$(df -Pk "$1" | awk 'END { print $4 }')
  ((free >= $2)) || fail 2 "$1 has $((free / 1024)) MiB free, and $(($2 / 1024)) are needed. Name a roomier place in $3."
}

install_lock() {
  local lock=$checkout/envs/$1.lock site
  run_pip --requirement "$lock" --no-deps --require-hashes --only-binary :all: --no-compile | count_packages "$lock"
  # PYTHONDONTWRITEBYTECODE is often set on build machines; without bytecode TensorFlow alone takes 11 s to import.
  say "compiling bytecode"
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  "$venv/bin/python" -m compileall -q -j 0 -x '/tests?/' "$site" >/dev/null 2>&1 || true # some packages ship Python 2 templates
}

run_pip() { call_pip "$(<"$mark/made-by")" --python "$venv/bin/python" install "$@"; }

call_pip() { # call_pip PYTHON ARGUMENT…
  local python=$1 errors
  shift
  errors=$(mktemp)
  if "$python" -m pip --disable-pip-version-check "$@" 2>"$errors"; then
    rm -f "$errors"
  else
    grep -v '^WARNING' "$errors" >&2 || true
    rm -f "$errors"
    fail 10 "pip could not install what is needed (above). Its index and mirrors come from its own configuration: pip config list"
  fi
}

# Turns pip's talk into a count; one line that changes on a terminal, a line every ten packages elsewhere.
count_packages() {
  local total count=0 line
  total=$(grep -c == "$1")
  while IFS= read -r line; do
    case $line in
      *'(from -r '*) # Collecting, Processing, Requirement already satisfied
        count=$((count + 1)) line=${line%% (from*}
        if [[ -t 2 ]]; then
          printf '\r\033[Kedgekit: %d of %d packages: %s' "$count" "$total" "${line##*[ /]}" >&2
        elif ((count % 10 == 0)); then
          say "$count of $total packages"
        fi
        ;;
      'Installing collected'*)
        [[ ! -t 2 ]] || printf '\r\033[K' >&2
        say "unpacking $count packages"
        ;;
    esac
  done
}

say() { echo "edgekit: $*" >&2; }

fail() {
  local code=$1
  shift
  say "$*"
  exit "$code"
}
