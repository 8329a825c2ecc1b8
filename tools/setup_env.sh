#!/usr/bin/env bash
# Sets up everything that the project needs, in .venv, without a compiler. A second run has nothing
# to do, and an interrupted run continues where it stopped.
#
#   bash tools/setup_env.sh                   set up
#   source tools/setup_env.sh                 set up and activate
#   bash tools/setup_env.sh --with-mmcv-ops   also compile mmcv with all of its operators (half an
#                                             hour on two cores; needs a C++ compiler)
#
# MMSTAL_DA_ENV=current   use the active environment instead of .venv
# PYTHON=python3.12       the interpreter for .venv
# TORCH_SPEC='torch==2.6.0 --index-url ...'   what pip installs if torch is missing
# MAX_JOBS=2              compilers that run at once while mmcv is built (default: all cores)
# MMSTAL_DA_CACHE=DIR     keeps the packages for the next clone (default: ~/.cache/mmstal_da);
#                         MMSTAL_DA_CACHE= (empty) keeps nothing

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
cache=${MMSTAL_DA_CACHE-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/mmstal_da}
needed_gb=3

with_mmcv_ops=
case ${1:-} in
    '') ;;
    --with-mmcv-ops) with_mmcv_ops=1 ;;
    *)
        echo "[setup] unknown argument $1; known: --with-mmcv-ops" >&2
        exit 2
        ;;
esac

say() { printf '%s\n' "[setup] $*"; }

fail() {
    printf '%s\n' "[setup] FAILED: $1" "[setup] What to do: $2" >&2
    exit 1
}

# step NAME REMEDY COMMAND...: runs the command into a log, with a line every 15 s to show progress.
# A function `progress LOG` prints how far the command is.
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
        if grep -q 'No space left on device' "$log"; then
            remedy="free some space: $needed_gb GB are needed in $root, and some in ${TMPDIR:-/tmp}; then run this again, it continues from here"
        elif grep -qE 'No matching distribution|NewConnectionError|Name or service not known|name resolution|Read timed out|ProxyError' "$log"; then
            remedy=$index_remedy
        fi
        fail "$name (exit status $status; whole log: $log)" "$remedy"
    fi
}

index_remedy='pip reached no index that has this package: see "pip config list" and the network; then run this again, it continues from here'

heartbeat() {
    local start=$SECONDS
    # sleep's output is closed, so that a pipe that reads this script's output ends with the script
    while sleep 15 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        say "$1: $((SECONDS - start)) s$(progress "$2")"
    done
}

progress() { :; }

# ---------------------------------------------------------------------------------- Python

# Prints the version of an interpreter, or why it cannot be used (and fails).
check_python() {
    "$1" - "${with_mmcv_ops:-0}" 2>/dev/null <<'PY' || { echo 'does not run'; return 1; }
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
elif sys.argv[1] == '1' and not os.path.isfile(header):
    print(f'{version}: lacks its headers ({header}), which building mmcv needs')
else:
    print(f'{version} ok')
PY
}

choose_python() {
    local candidate verdict found=''
    # 3.14 and later only if the user names it: MMEngine and MMCV are older
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3.10 python3 python}; do
        command -v "$candidate" >/dev/null || continue
        verdict=$(check_python "$candidate") || true
        case $verdict in
            3.1[0-3].*\ ok) ;;
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
    fail "no usable Python; found: ${found#; }${found:-nothing named ${PYTHON:-python3.10 to python3.13, python3 or python}}" \
        'install Python 3.11 with its venv package (Debian, Ubuntu: apt install python3 python3-venv), or name one: PYTHON=/path/to/python3 bash tools/setup_env.sh'
}

# ---------------------------------------------------------------------------------- done already?

# Prints two lines: the environment's folder, and one that changes when the set-up must run again.
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
files = b''.join((root / name).read_bytes() for name in ('setup.cfg', 'pyproject.toml', 'setup.py'))
names = ('torch', 'mmcv', 'mmcv-lite', 'mmengine', 'mmdet', 'mmaction2', 'mmstal_da')
print(sys.prefix)
print(root, hashlib.sha256(files).hexdigest()[:16], f'Python {sys.version.split()[0]},',
      ', '.join(f'{name} {installed(name)}' for name in names if installed(name) != 'missing'))
PY
}

# Ends the script if the existing set-up was made from these files and packages.
ready() {
    local found
    found=$(state 2>/dev/null) || return 0
    prefix=${found%%$'\n'*} current=${found#*$'\n'}
    [ -f "$prefix/.mmstal_da-setup" ] && [ "$(<"$prefix/.mmstal_da-setup")" = "$current" ] || return 0
    case "$with_mmcv_ops$current" in 1*mmcv-lite*) return 0 ;; esac
    say "$where is ready: Python ${current#* Python }"
    exit 0
}

fresh=
if [ "${MMSTAL_DA_ENV:-}" = current ]; then
    python=$(command -v python || command -v python3 || true)
    [ -n "$python" ] || fail 'MMSTAL_DA_ENV=current, but no python is on the PATH' 'activate an environment, or unset MMSTAL_DA_ENV'
    where="the active environment"
    ready
    verdict=$(check_python "$python") || true
    case $verdict in
        *too\ old* | *not\ run*) fail "the active Python $python: $verdict" 'activate an environment of Python 3.11, or unset MMSTAL_DA_ENV' ;;
    esac
else
    where=.venv
    python=$root/.venv/bin/python
    if [ -n "${PYTHON:-}" ] && [ -x "$python" ] && [ "$("$PYTHON" -c 'import sys; print(sys.version_info[:2])')" != \
        "$("$python" -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)" ] && "$python" -c '' 2>/dev/null; then
        fail "PYTHON=$PYTHON, but .venv has $("$python" --version)" 'remove .venv to set it up again, or unset PYTHON'
    fi
    [ ! -x "$python" ] || ready
    if ! "$python" -c 'import pip' 2>/dev/null; then
        choose_python
        free_gb=$(($(df -Pk . | awk 'NR == 2 {print $4}') / 1048576))
        [ "$free_gb" -ge "$needed_gb" ] || fail "$root has $free_gb GB of free space, and .venv needs $needed_gb" \
            'free some space, or clone the project to another disk'
        fresh=1
    fi
fi

# ---------------------------------------------------------------------------------- the packages of another clone

# Prints the name of the cached packages for these files, Python and torch; fails if nothing can be
# kept.
cache_key() {
    [ -n "$cache" ] && mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || return 1
    "$python" - "$root" "$torch_spec" <<'PY'
import hashlib, pathlib, platform, sys
root = pathlib.Path(sys.argv[1])
names = ('setup.cfg', 'pyproject.toml', 'setup.py')
text = b''.join((root / name).read_bytes() for name in names)
text += ' '.join([sys.argv[2], sys.version, platform.machine(), platform.libc_ver()[1]]).encode()
print(f'packages-cp{sys.version_info[0]}{sys.version_info[1]}-{hashlib.sha256(text).hexdigest()[:16]}')
PY
}

# Links or copies a folder. Links share the space; pip never writes into an existing file.
link_folder() { cp -al "$1" "$2" 2>/dev/null || { rm -rf "$2" && cp -a "$1" "$2"; }; }

# Makes a .venv from the cached packages; scripts get its interpreter. (A step's function does not
# end at a failing command, so every command has a `return`.)
restore_packages() {
    local from=$1 script site
    rm -rf .venv.part
    "$python" -m venv --without-pip .venv.part || return
    site=$(echo .venv.part/lib/python3.*/site-packages)
    rmdir "$site" || return
    link_folder "$from/site-packages" "$site" || return
    for script in "$from"/bin/*; do
        if [ "$(head -c 2 "$script")" = '#!' ]; then
            { printf '#!%s\n' "$root/.venv/bin/python"; tail -n +2 "$script"; } >".venv.part/bin/${script##*/}" || return
            chmod +x ".venv.part/bin/${script##*/}"
        else
            cp "$script" .venv.part/bin/ || return
        fi
    done
    sed -i "s|\.venv\.part|.venv|g" .venv.part/bin/activate* .venv.part/pyvenv.cfg || return
    rm -rf .venv
    mv .venv.part .venv
}

# Keeps the packages of a new .venv, without the project itself.
keep_packages() {
    local to=$cache/$1 part=$cache/.$$.part site old
    site=$(echo .venv/lib/python3.*/site-packages)
    mkdir -p "$part/bin" &&
        link_folder "$site" "$part/site-packages" &&
        rm -rf "$part"/site-packages/*mmstal_da* &&
        find .venv/bin -maxdepth 1 -type f ! -name 'activate*' ! -name 'Activate*' -exec cp {} "$part/bin" \; || {
        rm -rf "$part"
        return 1
    }
    for old in "$cache"/"${1%-*}"-*; do # a set-up of older files is not needed again
        [ "$old" = "$to" ] || rm -rf "$old"
    done
    [ -e "$to" ] || mv "$part" "$to"
    rm -rf "$part"
}

restored=
if [ -n "$fresh" ]; then
    if key=$(cache_key) && [ -d "$cache/$key" ]; then
        say "packages of an earlier set-up: $cache/$key"
        step 'make .venv from them' "remove $cache and .venv, and run again" restore_packages "$cache/$key"
        restored=1
    else
        step 'make .venv' 'see the log; remove .venv and run again' "$python" -m venv --clear .venv
        touch .venv/.mmstal_da-new
    fi
    python=$root/.venv/bin/python
fi
say "setting up $where: $("$python" --version); logs in $logs"

# ---------------------------------------------------------------------------------- torch

# bytecode is compiled later, by all cores
pip=("$python" -m pip --disable-pip-version-check)
install=("${pip[@]}" install --no-compile)
pip_remedy='see the log; then run this again, it continues from here'

if "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then
    "$python" -W ignore -c 'import torch' 2>"$(mkdir -p "$logs" && echo "$logs/import-torch.log")" || {
        tail -n 3 "$logs/import-torch.log" >&2
        fail 'the installed torch cannot be imported' "reinstall it, or remove $where and run again"
    }
    say "torch $("$python" -W ignore -c 'import torch; print(torch.__version__)') is installed and kept"
else
    # shellcheck disable=SC2086  # TORCH_SPEC may hold options
    step 'install torch' "$pip_remedy; TORCH_SPEC chooses another torch than $torch_spec" \
        "${install[@]}" $torch_spec
fi

# ---------------------------------------------------------------------------------- mmcv

# Prints the installed mmcv: nothing, "mmcv 2.1.0", "mmcv-lite 2.1.0", or both.
installed_mmcv() {
    "$python" - <<'PY'
from importlib.metadata import PackageNotFoundError, version
for name in ('mmcv', 'mmcv-lite'):
    try:
        print(name, version(name))
    except PackageNotFoundError:
        pass
PY
}

# Prints for example cp311-torch2.13.0-cpu. With CUDA only if mmcv's setup.py compiles for it.
wheel_key() {
    "$python" -W ignore - <<'PY'
import os, sys, torch
cuda = torch.cuda.is_available() or os.environ.get('FORCE_CUDA') == '1'
device = 'cu' + torch.version.cuda.replace('.', '') if cuda else 'cpu'
print(f'cp{sys.version_info[0]}{sys.version_info[1]}-torch{torch.__version__.split("+")[0]}-{device}')
PY
}

build_mmcv() {
    local sources=$root/build/mmcv-$wheel_key
    "${CXX:-c++}" --version >/dev/null 2>&1 || fail 'building mmcv needs a C++ compiler, and there is none' \
        'install g++ (Debian, Ubuntu: apt install g++), name one in CXX, or leave out --with-mmcv-ops'
    case $wheel_key in
        *-cu*) "$python" -c 'import sys; from torch.utils.cpp_extension import CUDA_HOME; sys.exit(CUDA_HOME is None)' ||
            fail 'building mmcv for the GPU needs nvcc, and there is none' \
                "install the CUDA toolkit that torch was built with (see the end of $wheel_key), set CUDA_HOME, or leave out --with-mmcv-ops" ;;
    esac
    # mmcv's setup.py imports pkg_resources, which setuptools 81 removed
    step 'install build tools' "$pip_remedy" "${install[@]}" 'setuptools<81' wheel ninja
    if [ ! -d "$sources" ]; then
        rm -rf "$sources.part"
        mkdir -p "$sources.part"
        step 'download mmcv' "$pip_remedy" "${pip[@]}" download --no-cache-dir --no-deps --no-binary mmcv \
            --no-build-isolation --dest "$sources.part" "mmcv==$mmcv_version"
        tar -xzf "$sources.part/mmcv-$mmcv_version.tar.gz" -C "$sources.part" --strip-components=1
        mv "$sources.part" "$sources"
    fi
    say "building mmcv $mmcv_version with its ops for $wheel_key; once, up to half an hour on 2 cores"
    progress() { grep -o '^ *\[[0-9]*/[0-9]*\]' "$1" 2>/dev/null | tail -n 1 | sed 's/^ *\[/, file /; s/\]//; s,/, of ,'; }
    rm -rf "$sources/wheel"
    # In its own folder, so that an interrupted build continues where it stopped.
    step 'build mmcv' 'read the log above: if a compiler was killed, it ran out of memory (run again with MAX_JOBS=1); a torch newer than 2.13 may refuse -std=c++17 (choose another by TORCH_SPEC)' \
        env MMCV_WITH_OPS=1 MAX_JOBS="${MAX_JOBS:-$(nproc)}" "${pip[@]}" wheel -v --no-cache-dir --no-deps \
        --no-build-isolation --wheel-dir "$sources/wheel" "$sources"
    progress() { :; }
    cp "$sources"/wheel/mmcv-*.whl "$wheels/.$$.part"
    mv "$wheels/.$$.part" "$wheels/$(basename "$sources"/wheel/mmcv-*.whl)"
}

compile_mmcv() {
    wheel_key=$(wheel_key)
    wheels=${cache:-$root/build}/wheels/$wheel_key
    mkdir -p "$wheels"
    wheel=$(find "$wheels" -name "mmcv-$mmcv_version-*.whl" | head -n 1)
    if [ -z "$wheel" ]; then
        build_mmcv
        wheel=$(find "$wheels" -name "mmcv-$mmcv_version-*.whl" | head -n 1)
    fi
    # both packages own the same folder
    step 'remove mmcv-lite' "$pip_remedy" "${pip[@]}" uninstall -y mmcv-lite mmcv
    step 'install mmcv' "remove $wheel and run again" "${install[@]}" --no-deps "$wheel"
    say "mmcv from $wheel"
}

extras=tests
case $(installed_mmcv | tr '\n' ' ') in
    *mmcv-lite*mmcv\ * | *mmcv\ *mmcv-lite*) fail 'mmcv and mmcv-lite are both installed, in one folder' \
        "keep one: $python -m pip uninstall -y mmcv mmcv-lite; then run this again" ;;
    '') [ -n "$with_mmcv_ops" ] || extras=lite,tests ;;
    mmcv*\ 2.1.*) ;;
    *) fail "$(installed_mmcv) is installed, and MMDetection 3.3 and MMAction2 1.2 need mmcv 2.1" \
        "remove it: $python -m pip uninstall -y $(installed_mmcv | cut -d' ' -f1); then run this again" ;;
esac
case $with_mmcv_ops$(installed_mmcv) in
    1 | 1mmcv-lite*) compile_mmcv ;;
esac

# ---------------------------------------------------------------------------------- the project

# setuptools is one of the cached packages
[ -z "$restored" ] || install+=(--no-build-isolation)
step 'install mmstal_da and its dependencies' "$pip_remedy" "${install[@]}" -e ".[$extras]"

prove="import mmstal_da.registry; from mmstal_da.utils.collect_env import prove_ops, describe_ops; prove_ops(); print(describe_ops())"
"$python" -W ignore -c "$prove" >"$logs/prove-ops.log" 2>&1 || {
    tail -n 3 "$logs/prove-ops.log" >&2
    fail "RoIAlign and NMS do not run (log: $logs/prove-ops.log)" \
        "$python -m pip uninstall -y mmcv mmcv-lite; then run this again: mmcv-lite replaces them"
}
say "RoIAlign and NMS run: $(tail -n 1 "$logs/prove-ops.log")"

if [ -f .venv/.mmstal_da-new ] && [ "$where" = .venv ]; then
    # Where PYTHONDONTWRITEBYTECODE is set, every start would compile again, 20 seconds each. A few
    # files of packages are for another Python: their errors do not matter.
    rest='/(tests?|testing|_inductor|pip|setuptools|networkx|fontTools|pygments|tensorboard)/'
    step 'compile bytecode' "$pip_remedy" \
        bash -c "'$python' -m compileall -q -j 0 -x '$rest' .venv/lib/python3.*/site-packages || true"
    [ -n "$with_mmcv_ops" ] || ! key=$(cache_key) ||
        step 'keep the packages for the next clone' "free some space, or set MMSTAL_DA_CACHE" keep_packages "$key"
    rm .venv/.mmstal_da-new
fi

found=$(state)
stamp=${found%%$'\n'*}/.mmstal_da-setup
printf '%s\n' "${found#*$'\n'}" >"$stamp.part"
mv "$stamp.part" "$stamp"
ready=$(<"$stamp")
say "$where is ready: Python ${ready#* Python }"
