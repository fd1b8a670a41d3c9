#!/usr/bin/env bash
# Builds the sdist and, from it, the wheel; then installs the wheel, the sdist and an editable checkout, each into an empty
# environment, and starts the daemon there, away from the checkout. PYTHON names a python that has the package "build".
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
daemon=
export PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
unset PYTHONPATH CONFIG_FILES PUBLIC_URL IP_ADDRESS DATABASE_URL DB_BACKEND CUSTOMS_SERVER_URL CONTENT_SERVER_URL

finish() {
    if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap finish EXIT

fail() {
    echo "check_installs: $*" >&2
    exit 1
}

# free_port: a port that was free a moment ago.
free_port() {
    "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# ready FILE: waits until the daemon that logs there says that it is ready, for 30 seconds at most.
ready() {
    local end=$((SECONDS + 30))
    until grep -q '"op":"server.ready"' "$1"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# heartbeat URL: whether the daemon answers with status 200.
heartbeat() {
    "$python" -c 'import sys, urllib.request as r; sys.exit(r.urlopen(sys.argv[1], timeout=5).status != 200)' "$1"
}

# start_and_ask ENVIRONMENT COMMAND...: the daemon in a folder of its own answers, and stops when asked to.
start_and_ask() {
    local environment=$1 port folder
    shift
    port=$(free_port)
    folder=$(mktemp -d "$work/run.XXXXXX")
    (
        cd "$folder"
        exec env NODE_ENV=dev PORT="$port" PUBLIC_URL="http://127.0.0.1:$port" SMTP_PORT="$(free_port)" \
            MAILER_PORT="$(free_port)" "$environment/bin/twistd" --nodaemon --pidfile= "$@"
    ) >"$folder/output" 2>&1 &
    daemon=$!
    { ready "$folder/output" && heartbeat "http://127.0.0.1:$port/__heartbeat__"; } || { cat "$folder/output" >&2; fail "no heartbeat from $*"; }
    kill -TERM "$daemon"
    wait "$daemon" || true
    daemon=
    if grep -q Traceback "$folder/output"; then cat "$folder/output" >&2; fail "a traceback from $*"; fi
}

# check_install NAME PIP_ARGUMENT...: into an empty environment, used from / so that nothing of the checkout is near.
check_install() {
    local name=$1 environment=$work/$1
    shift
    "$python" -m venv "$environment"
    "$environment/bin/python" -m pip --quiet --no-input install "$@"
    (
        cd /
        "$environment/bin/twistd" fxa-auth --help >/dev/null || fail "$name: twistd does not find the plugin"
        "$environment/bin/fxa-auth" --help >/dev/null || fail "$name: no command fxa-auth"
        "$environment/bin/fxa-auth" mail preview --language pt-BR --out "$work/$name.mails" >/dev/null || fail "$name: no preview"
        grep -q Verificar "$work/$name.mails/pt-BR/verify.txt" || fail "$name: no mail in Portuguese"
        "$environment/bin/python" - <<'PYTHON'
from fxa_auth.data import data_dir

assert any(data_dir("templates").iterdir()), "no templates"
assert any(data_dir("locales").iterdir()), "no locales"
import twisted.plugins

assert hasattr(twisted.plugins, "pluginPackagePaths"), "Twisted's own twisted/plugins/__init__.py was overwritten"
PYTHON
    )
    start_and_ask "$environment" fxa-auth
    echo "check_installs: $name works"
}

# A clean copy: build/ of the checkout may hold files that are long gone.
mkdir "$work/checkout"
(cd "$root" && tar --create --exclude=./.git --exclude=./.venv --exclude=./var --exclude=./build --exclude='./*.egg-info' \
    --exclude=./_trial_temp* --exclude=__pycache__ .) | tar --extract --directory "$work/checkout"

"$python" -m build --outdir "$work/dist" "$work/checkout" >"$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail "no build"; }
check_install wheel "$work"/dist/*.whl
check_install sdist "$work"/dist/*.tar.gz
check_install editable --editable "$work/checkout"
start_and_ask "$work/wheel" -y "$work/checkout/auth.tac"
echo "check_installs: auth.tac works"
