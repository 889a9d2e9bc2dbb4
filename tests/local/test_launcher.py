"""The launcher in a checkout of its own, with small programs in the place of uv and Python."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "cksum", "readlink", "mkdir", "ln", "rm", "mv", "cut", "sleep", "ps", "cat", "env", "dirname", "touch")

PYTHON = """#!/bin/sh
# Answers the launcher's questions as a Python that fits; else shows its arguments.
if [ "$1" = -c ]; then
    case $2 in *executable*) echo "$0" ;; esac
    exit 0
fi
for word in "$@"; do echo "<$word>"; done
exit "${WANTED_EXIT:-0}"
"""

UV = """#!/bin/sh
# Writes down how it was called, and makes an environment as `uv sync` would.
if [ "$1" = --version ]; then echo "uv ${UV_FAKE_VERSION:-0.13.8}"; exit 0; fi
echo "$*" >>"$UV_CALLS"
[ -z "${UV_SLEEPS:-}" ] || { touch "$UV_CALLS.started"; sleep "$UV_SLEEPS"; }
[ -z "${UV_FAILS:-}" ] || { echo "no network" >&2; exit 2; }
mkdir -p "$UV_PROJECT_ENVIRONMENT/bin"
cp_python="$UV_PROJECT_ENVIRONMENT/bin/python"
rm -f "$cp_python"
cat "$FAKE_PYTHON" >"$cp_python"
chmod +x "$cp_python"
"""


@dataclass
class Checkout:
    """A folder with the launcher, and a PATH that holds little else."""

    root: Path
    bin: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def uv_calls(self) -> list[str]:
        log = Path(self.env["UV_CALLS"])
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def start(self, *words: str, program: Path | None = None, **env: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [program or self.root / "moorage", *words],
            env={**self.env, **env},
            cwd=self.bin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, program: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
        with self.start(*words, program=program, **env) as child:
            out, err = child.communicate(timeout=30)
        return subprocess.CompletedProcess(list(words), child.returncode, out, err)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root, programs = tmp_path / "a checkout", tmp_path / "bin"
    (root / "scripts").mkdir(parents=True)
    programs.mkdir()
    shutil.copy(ROOT / "moorage", root / "moorage")
    (root / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    (root / "uv.lock").write_text("version = 1\n", encoding="utf-8")
    (root / "scripts" / "test.sh").write_text('#!/bin/sh\necho "tests: $*"\n', encoding="utf-8")
    (root / "scripts" / "test.sh").chmod(0o755)
    for tool in (*TOOLS, "chmod"):
        found = shutil.which(tool)
        assert found is not None
        (programs / tool).symlink_to(found)
    env = {
        "PATH": str(programs),
        "UV_CALLS": str(tmp_path / "uv-calls"),
        "FAKE_PYTHON": str(programs / "python3.12"),
    }
    checkout = Checkout(root, programs, env)
    checkout.program("uv", UV)
    checkout.program("python3.12", PYTHON)
    return checkout


def test_the_first_use_makes_the_environment_and_the_second_calls_nothing(checkout: Checkout) -> None:
    first = checkout.run("run", "what is it?", "--repo", ".")
    assert first.returncode == 0
    assert first.stdout.splitlines() == [
        "<-I>",
        "<-m>",
        "<services.local>",
        "<run>",
        "<what is it?>",
        "<--repo>",
        "<.>",
    ]
    assert "making its environment (once, about a minute)" in first.stderr

    second = checkout.run("run", "what is it?", "--repo", ".")

    assert (second.stdout, second.stderr) == (first.stdout, "")
    assert len(checkout.uv_calls) == 1
    assert "--locked --no-dev --extra local --inexact --compile-bytecode" in checkout.uv_calls[0]


def test_the_programs_exit_code_is_the_launchers(checkout: Checkout) -> None:
    assert checkout.run("run").returncode == 0
    assert checkout.run("run", WANTED_EXIT="124").returncode == 124


def test_it_is_found_through_links(checkout: Checkout) -> None:
    (checkout.bin / "one").symlink_to(checkout.root / "moorage")
    (checkout.bin / "two").symlink_to("one")
    assert checkout.run("ps", program=checkout.bin / "two").stdout.splitlines()[-1] == "<ps>"
    assert (checkout.root / ".venv" / "bin" / "python").exists()


def test_tests_need_more_than_runs_and_what_tests_need_is_enough_for_runs(checkout: Checkout) -> None:
    checkout.run("run")
    assert checkout.run("test", "-k", "name").stdout == "tests: -k name\n"
    checkout.run("run")
    checkout.run("test")
    assert ["--extra dev" in call for call in checkout.uv_calls] == [False, True]


@pytest.mark.parametrize("name", ["uv.lock", "pyproject.toml"])
def test_a_changed_lock_brings_the_environment_up_to_date_at_its_level(checkout: Checkout, name: str) -> None:
    checkout.run("test")
    (checkout.root / name).write_text("changed\n", encoding="utf-8")
    updated = checkout.run("run")
    assert "up to date" in updated.stderr
    assert updated.stdout.splitlines()[-1] == "<run>"
    assert checkout.run("run").stderr == ""
    assert ["--extra dev" in call for call in checkout.uv_calls] == [True, True]


def test_a_moved_checkout_makes_its_environment_again(checkout: Checkout) -> None:
    checkout.run("run")
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    checkout.run("run")
    assert len(checkout.uv_calls) == 2
    assert str(checkout.root) in checkout.uv_calls[1]


def test_an_environment_somebody_made_by_hand_is_kept_and_one_without_python_is_not(checkout: Checkout) -> None:
    checkout.run("run")
    kept = checkout.root / ".venv" / "installed-by-hand"
    kept.touch()
    (checkout.root / ".venv" / ".moorage").unlink()
    checkout.run("run")
    assert kept.exists()

    (checkout.root / ".venv" / "bin" / "python").unlink()
    assert checkout.run("run").returncode == 0
    assert not kept.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_first_use_does_not_break_the_second(checkout: Checkout, number: signal.Signals) -> None:
    with checkout.start("run", UV_SLEEPS="30") as interrupted:
        started = Path(checkout.env["UV_CALLS"] + ".started")
        deadline = time.monotonic() + 10
        while not started.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(interrupted.pid, number)
        assert interrupted.wait(timeout=10) != 0
        # A shell in the instant of forking can lose the signal, and its sleep would hold our pipes.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(interrupted.pid, signal.SIGKILL)
        interrupted.communicate(timeout=10)

    again = checkout.run("run")

    assert again.returncode == 0
    assert "--reinstall" in checkout.uv_calls[1]
    assert checkout.run("run").stderr == ""
    assert not os.path.lexists(checkout.root / ".uv" / "lock")


def test_two_first_uses_at_once_make_one_environment(checkout: Checkout) -> None:
    with checkout.start("run", "one", UV_SLEEPS="1") as one, checkout.start("run", "two", UV_SLEEPS="1") as two:
        outputs = [child.communicate(timeout=30)[0].splitlines()[-1] for child in (one, two)]
    assert outputs == ["<one>", "<two>"]
    assert len(checkout.uv_calls) == 1


def test_a_failed_sync_says_so_and_the_next_use_tries_again(checkout: Checkout) -> None:
    failed = checkout.run("run", UV_FAILS="1")
    assert failed.returncode == 1
    assert "no network" in failed.stderr
    assert "moorage: the environment could not be made" in failed.stderr
    assert checkout.run("run").returncode == 0


def test_without_uv_and_without_a_python_that_fits_the_install_line_is_told(checkout: Checkout) -> None:
    (checkout.bin / "uv").unlink()
    (checkout.bin / "python3.12").unlink()
    checkout.program("python3", "#!/bin/sh\nexit 1\n")
    told = checkout.run("run")
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith("moorage: it needs Python 3.11, 3.12 or 3.13;")
    assert "apt-get install python3 python3-venv" in told.stderr


def test_a_python_without_venv_is_told_with_its_install_line(checkout: Checkout) -> None:
    (checkout.bin / "uv").unlink()
    checkout.program("python3.12", PYTHON.replace("esac", "*ensurepip*) exit 1 ;; esac"))
    assert "no venv module; on Debian or Ubuntu: apt-get install python3-venv" in checkout.run("run").stderr


def test_a_uv_that_is_too_old_is_not_used(checkout: Checkout) -> None:
    checkout.program("python3.12", PYTHON.replace("esac", "*ensurepip*) exit 1 ;; esac"))
    assert "no venv module" in checkout.run("run", UV_FAKE_VERSION="0.4.30").stderr
    assert checkout.uv_calls == []


def test_the_usual_use_writes_nothing(checkout: Checkout) -> None:
    checkout.run("run")
    before = {path: path.stat().st_mtime_ns for path in checkout.root.rglob("*")}
    checkout.run("run")
    assert {path: path.stat().st_mtime_ns for path in checkout.root.rglob("*")} == before
