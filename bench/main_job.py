"""How long the main job takes on a warm stack, beside the least that any tool of this kind must do.

Run: `.venv/bin/python bench/main_job.py REPOSITORY [--rounds 15]`, REPOSITORY being a local git repository.
Starts a stack in a temporary home, measures round-robin so that noise meets every row alike, prints medians and ratios,
and stops the stack. The floor is what nobody can leave out: start an interpreter, fetch the repository into a mirror,
and enter a sandbox once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUESTION = "What does this project do?"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--port", type=int, default=18080)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as scratch:
        measure(options.repository.resolve(), options.rounds, options.port, Path(scratch))


def measure(repository: Path, rounds: int, port: int, scratch: Path) -> None:
    """Start a stack, time every row, stop the stack."""
    inherited = dict(os.environ)  # noqa: TID251 - a program of its own
    environment = {**inherited, "MOORAGE_HOME": str(scratch / "home"), "MOORAGE_PORT": str(port)}
    moorage = str(ROOT / "moorage")

    def command(*argv: str) -> Callable[[], None]:
        return lambda: _run(argv, environment)

    cold_up = _timed(command(moorage, "up", "--detach"))
    try:
        first = _timed(command(moorage, "run", QUESTION, "--repo", str(repository), "--quiet"))
        mirror = scratch / "mirror.git"
        _run(("git", "clone", "-q", "--bare", str(repository), str(mirror)), environment)
        floor = (
            f"{sys.executable} -c pass && git -C {mirror} fetch -q {repository}"
            " && bwrap --unshare-all --ro-bind / / true"
        )
        rows = {
            "floor: interpreter + fetch + sandbox": command("sh", "-c", floor),
            "POST /orchestrate": lambda: _post(port, repository),
            "./moorage run": command(moorage, "run", QUESTION, "--repo", str(repository), "--quiet"),
        }
        times: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(rounds):
            for name, row in rows.items():
                times[name].append(_timed(row))
    finally:
        _run((moorage, "down"), environment)
    print(f"stack start {cold_up * 1000:.0f} ms, first run (mirror, agent and all) {first * 1000:.0f} ms")
    least = statistics.median(next(iter(times.values())))
    for name, taken in times.items():
        median = statistics.median(taken)
        worst = max(taken)
        print(f"{name:38} median {median * 1000:5.0f} ms  worst {worst * 1000:5.0f} ms  {median / least:5.1f} x floor")


def _run(argv: tuple[str, ...], environment: dict[str, str]) -> None:
    subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _post(port: int, repository: Path) -> None:
    body = json.dumps({"query": QUESTION, "repo_url": str(repository)}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/orchestrate", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        json.load(answer)


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
