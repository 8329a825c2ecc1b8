#!/usr/bin/env bash
# Sets up everything that the project needs, in .venv. Nothing is left to do the second time, and
# an interrupted run goes on where it stopped.
#
#   bash tools/setup_env.sh        set up
#   source tools/setup_env.sh      set up and activate
#
# MMSTAL_DA_ENV=current   use the active environment instead of .venv
# PYTHON=python3.12       the interpreter that .venv is made with
# TORCH_SPEC='torch==2.5.1 --index-url ...'   what pip installs where torch is missing
# MAX_JOBS=2              compilers that run at once while mmcv is built (default: all cores)
# MMSTAL_DA_CACHE=DIR     where built wheels of mmcv are kept (default: ~/.cache/mmstal_da)

if [ "${BASH_SOURCE[0]}" != "$0" ]; then
    bash "${BASH_SOURCE[0]}" || return 1
    if [ "${MMSTAL_DA_ENV:-}" != current ]; then
        # shellcheck disable=SC1091
        source "$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/activate"
    fi
    return 0
fi

set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
logs=$root/build/setup
mmcv_version=2.1.0
torch_spec=${TORCH_SPEC:-torch==2.13.0}
cache=${MMSTAL_DA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mmstal_da}/wheels

say() { printf '%s\n' "[setup] $*"; }

fail() {
    printf '%s\n' "[setup] FAILED: $1" "[setup] What to do: $2" >&2
    exit 1
}

# step NAME REMEDY COMMAND...: runs the command into a log, with a line every 15 s to show progress.
# A function `progress LOG`, if defined, says how far the command is.
step() {
    local name=$1 remedy=$2 log heart status=0
    shift 2
    mkdir -p "$logs"
    log=$logs/${name// /-}.log
    say "$name ..."
    heartbeat "$name" "$log" &
    heart=$!
    "$@" >"$log" 2>&1 || status=$?
    kill "$heart" 2>/dev/null || true
    wait "$heart" 2>/dev/null || true
    if [ "$status" != 0 ]; then
        tail -n 25 "$log" >&2
        fail "$name (exit status $status; whole log: $log)" "$remedy"
    fi
}

heartbeat() {
    local start=$SECONDS
    # its own output closed, so that a pipe that reads ours ends with us
    while sleep 15 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        say "$1: $((SECONDS - start)) s$(progress "$2")"
    done
}

progress() { :; }

# ---------------------------------------------------------------------------------- Python

# Prints the version of an interpreter, or why it will not do (and fails).
check_python() {
    "$1" - 2>/dev/null <<'PY' || { echo 'does not run'; return 1; }
import sys
version = '.'.join(map(str, sys.version_info[:3]))
if sys.version_info < (3, 10):
    print(f'{version}: too old, 3.10 or newer is needed')
    sys.exit(0)
import importlib.util, os, sysconfig
missing = [name for name in ('venv', 'ensurepip') if importlib.util.find_spec(name) is None]
header = os.path.join(sysconfig.get_paths()['include'], 'Python.h')
if missing:
    print(f'{version}: lacks {" and ".join(missing)}')
elif not os.path.isfile(header):
    print(f'{version}: lacks its headers ({header}), which building mmcv needs')
else:
    print(f'{version} ok')
PY
}

choose_python() {
    local candidate verdict found=''
    # 3.11 is what the project is tested with. From 3.13 on it is not: only if you name it.
    for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3 python}; do
        command -v "$candidate" >/dev/null || continue
        verdict=$(check_python "$candidate") || true
        case $verdict in
            3.1[0-2].*\ ok) ;;
            *\ ok) [ -n "${PYTHON:-}" ] || verdict="${verdict% ok}: untested" ;;
        esac
        case $verdict in
            *\ ok)
                python=$candidate
                say "Python ${verdict% ok} ($(command -v "$candidate"))"
                return
                ;;
        esac
        found="$found; $candidate: $verdict"
    done
    fail "no usable Python; found: ${found#; }${found:-nothing named ${PYTHON:-python3.11, python3.12, python3.10, python3 or python}}" \
        'install Python 3.11 with its venv and dev packages, or name one: PYTHON=/path/to/python3 bash tools/setup_env.sh'
}

if [ "${MMSTAL_DA_ENV:-}" = current ]; then
    python=$(command -v python || command -v python3 || true)
    [ -n "$python" ] || fail 'MMSTAL_DA_ENV=current, but no python is on the PATH' 'activate an environment, or unset MMSTAL_DA_ENV'
    verdict=$(check_python "$python") || true
    case $verdict in
        *too\ old* | *not\ run*) fail "the active Python $python: $verdict" 'activate an environment of Python 3.11, or unset MMSTAL_DA_ENV' ;;
    esac
    where="the active environment"
else
    where=.venv
    if .venv/bin/python -c 'import pip' 2>/dev/null; then
        if [ -n "${PYTHON:-}" ] && [ "$("$PYTHON" -c 'import sys; print(sys.version_info[:2])')" != \
            "$(.venv/bin/python -c 'import sys; print(sys.version_info[:2])')" ]; then
            fail "PYTHON=$PYTHON, but .venv has $(.venv/bin/python --version)" 'remove .venv to set it up anew, or unset PYTHON'
        fi
    else
        choose_python
        step 'make .venv' 'see the log; remove .venv and run again' "$python" -m venv --clear .venv
    fi
    python=$root/.venv/bin/python
fi

# ---------------------------------------------------------------------------------- done already?

# One line that changes when the set-up has to run again.
state() {
    "$python" - "$root" <<'PY'
import hashlib, pathlib, sys
from importlib.metadata import PackageNotFoundError, version

def installed(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return 'missing'

root = pathlib.Path(sys.argv[1])
files = b''.join((root / name).read_bytes() for name in ('setup.cfg', 'pyproject.toml'))
names = ('torch', 'mmcv', 'mmengine', 'mmdet', 'mmaction2', 'mmstal_da')
print(root, hashlib.sha256(files).hexdigest()[:16], f'Python {sys.version.split()[0]},',
      ', '.join(f'{name} {installed(name)}' for name in names))
PY
}

stamp=$("$python" -c 'import sys; print(sys.prefix)')/.mmstal_da-setup
current=$(state)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$current" ]; then
    say "$where is ready: Python ${current#* Python }"
    exit 0
fi
say "setting up $where: $("$python" --version); logs in $logs"

# ---------------------------------------------------------------------------------- torch

pip=("$python" -m pip --disable-pip-version-check)
pip_remedy='if pip reached no index, see "pip config list" and the network; then run this again, it goes on from here'

if "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then
    "$python" -W ignore -c 'import torch' || fail 'the installed torch cannot be imported' "reinstall it, or remove $where and run again"
    say "torch $("$python" -W ignore -c 'import torch; print(torch.__version__)') is there and kept"
else
    # shellcheck disable=SC2086  # TORCH_SPEC may hold options
    step 'install torch' "$pip_remedy; TORCH_SPEC chooses another torch than $torch_spec" \
        "${pip[@]}" install $torch_spec
fi
# mmcv's setup.py imports pkg_resources, gone in setuptools 81
step 'install build tools' "$pip_remedy" "${pip[@]}" install 'setuptools<81' wheel ninja

# ---------------------------------------------------------------------------------- mmcv

# cp311-torch2.13.0-cpu. With CUDA only where mmcv's setup.py compiles for it.
key=$("$python" -W ignore - <<'PY'
import os, sys, torch
cuda = torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1'
device = 'cu' + torch.version.cuda.replace('.', '') if cuda else 'cpu'
print(f'cp{sys.version_info[0]}{sys.version_info[1]}-torch{torch.__version__.split("+")[0]}-{device}')
PY
)

cached_wheel() { find "$cache/$key" -name "mmcv-$mmcv_version-*.whl" 2>/dev/null | head -n 1; }

build_mmcv() {
    local sources=$root/build/mmcv-$key
    "${CXX:-c++}" --version >/dev/null 2>&1 || fail 'building mmcv needs a C++ compiler, and there is none' \
        'install g++ (Debian, Ubuntu: apt install g++), or name one in CXX'
    case $key in
        *-cu*) "$python" -c 'import sys; from torch.utils.cpp_extension import CUDA_HOME; sys.exit(CUDA_HOME is None)' ||
            fail 'building mmcv for the GPU needs nvcc, and there is none' \
                "install the CUDA toolkit that torch was built with (see the end of $key), or set CUDA_HOME" ;;
    esac
    if [ ! -d "$sources" ]; then
        rm -rf "$sources.part"
        mkdir -p "$sources.part"
        step 'download mmcv' "$pip_remedy" "${pip[@]}" download --no-cache-dir --no-deps --no-binary mmcv \
            --no-build-isolation --dest "$sources.part" "mmcv==$mmcv_version"
        tar -xzf "$sources.part/mmcv-$mmcv_version.tar.gz" -C "$sources.part" --strip-components=1
        mv "$sources.part" "$sources"
    fi
    say "building mmcv $mmcv_version with its ops for $key; once, about 9 minutes on 2 cores"
    progress() { grep -o '^ *\[[0-9]*/[0-9]*\]' "$1" 2>/dev/null | tail -n 1 | sed 's/^ *\[/, file /; s/\]//; s,/, of ,'; }
    rm -rf "$sources/wheel"
    # In its own folder, so that an interrupted build goes on where it stopped.
    step 'build mmcv' 'read the log above: a compiler that was killed ran out of memory (run again with MAX_JOBS=1); a torch newer than 2.13 may refuse -std=c++17 (choose another by TORCH_SPEC)' \
        env MMCV_WITH_OPS=1 MAX_JOBS="${MAX_JOBS:-$(nproc)}" "${pip[@]}" wheel -v --no-cache-dir --no-deps \
        --no-build-isolation --wheel-dir "$sources/wheel" "$sources"
    progress() { :; }
    mkdir -p "$cache/$key"
    for wheel in "$sources"/wheel/mmcv-*.whl; do
        cp "$wheel" "$cache/$key/.$$.part"
        mv "$cache/$key/.$$.part" "$cache/$key/$(basename "$wheel")"
    done
}

# Installs the wheel from the cache, building it first where there is none.
install_mmcv() {
    mmcv_from=cache
    if [ -z "$(cached_wheel)" ]; then
        build_mmcv
        mmcv_from=build
    fi
    wheel=$(cached_wheel)
    step 'install mmcv' "remove $wheel and run again" "${pip[@]}" install --no-deps --force-reinstall "$wheel"
    say "mmcv from $wheel"
}

prove_mmcv() { "$python" -c 'import mmcv._ext; from mmstal_da.utils.collect_env import prove_ops; prove_ops()'; }

mmcv_from=environment
"$python" -c "from importlib.metadata import version; assert version('mmcv').startswith('2.1.')" 2>/dev/null || install_mmcv

# ---------------------------------------------------------------------------------- the project

step 'install mmstal_da and its dependencies' "$pip_remedy" "${pip[@]}" install --no-build-isolation -e '.[tests]'

mkdir -p "$logs"
until prove_mmcv >"$logs/prove-mmcv.log" 2>&1; do
    tail -n 3 "$logs/prove-mmcv.log" >&2
    case $mmcv_from in
        environment) say 'the installed mmcv does not run its ops; replacing it' ;;
        cache)
            say "the wheel does not run its ops; set aside: $wheel.rejected"
            mv "$wheel" "$wheel.rejected"
            ;;
        build) fail "mmcv was built, but its ops do not run (log: $logs/prove-mmcv.log)" \
            "remove $wheel and build/mmcv-$key and run again; if that does not help, choose another torch by TORCH_SPEC" ;;
    esac
    install_mmcv
done
say "the ops of mmcv run ($mmcv_from)"

state >"$stamp.part"
mv "$stamp.part" "$stamp"
ready=$(cat "$stamp")
say "$where is ready: Python ${ready#* Python }"
