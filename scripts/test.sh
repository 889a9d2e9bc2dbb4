#!/bin/sh
# Every check of the project: ruff, import-linter, mypy, shellcheck and the tests with coverage. All of them run, even
# after a failure; the last line is pytest's summary. `--all` also installs and demands the system programs that some
# tests need, and runs those that take longest. Every other argument goes to pytest. Called by `./moorage test`, which makes .venv first.
# shellcheck disable=SC2317,SC2329 # functions are called by stage and by trap
set -u

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
cd "$root" || exit 1
PATH=$root/.venv/bin:$PATH
export PATH

install_missing() { # what the tests with a marker need; Debian's names
    missing=
    for pair in bwrap:bubblewrap rg:ripgrep git:git curl:curl ps:procps; do
        command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "test: the full suite also needs:$missing; on Debian or Ubuntu: sudo apt-get install$missing" >&2
        return 0 # the tests that need them fail and say so again
    fi
    echo "test: installing$missing…" >&2
    # shellcheck disable=SC2086 # one word per package
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >&2 ||
        { apt-get update >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $missing >&2; }
}

quick='not full' # what takes longest runs with --all only
if [ "${1:-}" = --all ]; then
    shift
    quick=
    install_missing || exit 1
    MOORAGE_TEST_ALL=1
    export MOORAGE_TEST_ALL
fi

out=$(mktemp -d) || exit 1
static=
cleanup() {
    # shellcheck disable=SC2086 # empty when it has ended
    [ -z "$static" ] || kill $static 2>/dev/null
    rm -rf "$out"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

stage() { # stage NAME COMMAND...: keeps its output and exit code
    name=$1
    shift
    "$@" >"$out/$name.txt" 2>&1
    echo "$?" >"$out/$name.code"
}

lint() { ruff check . && ruff format --check .; }
types() { mypy; }
shell() { shellcheck moorage scripts/*.sh .ci/run; }
report() { # report NAME: one line, and what it said when it failed
    code=$(cat "$out/$1.code" 2>/dev/null || echo 1)
    if [ "$code" -eq 0 ]; then
        echo "$1: passed"
    else
        cat "$out/$1.txt"
        echo "$1: FAILED"
        failed=1
    fi
}

# Beside pytest, which waits a lot: the whole takes little longer than pytest alone.
{
    stage lint lint
    stage imports lint-imports
    stage shell shell
    stage types types
} &
static=$!

# The run is also kept, for its last line.
colour=no
[ ! -t 1 ] || colour=yes
{
    pytest -n 2 --dist loadfile ${quick:+-m "$quick"} --color="$colour" --cov=services --cov-report= "$@"
    echo "$?" >"$out/tests.code"
} 2>&1 | tee "$out/tests.txt"
wait "$static"
static=

failed=0
echo
for name in lint imports shell types; do report "$name"; done
tests=$(cat "$out/tests.code" 2>/dev/null || echo 1)
[ "$tests" -eq 0 ] || failed=1
echo "coverage: $(coverage report --format=total 2>/dev/null || echo '?') %"
tail -n 1 "$out/tests.txt"
exit "$failed"
