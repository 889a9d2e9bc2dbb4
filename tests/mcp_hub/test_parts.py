"""The hub's rules on their own: addresses, names, caps, audit lines, settings."""

import ipaddress
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import ServiceError
from services.mcp_hub import remotes
from services.mcp_hub.addresses import is_public, matches, names_exactly, split_authority
from services.mcp_hub.audit import Audit
from services.mcp_hub.git_errors import explain, masked
from services.mcp_hub.git_process import Git
from services.mcp_hub.policy import Policy, cut
from services.mcp_hub.rates import Rates
from services.mcp_hub.registry import Registry, public_name
from services.mcp_hub.servers import git
from services.mcp_hub.settings import Settings, user_environment
from services.wire.errors import ErrorCode
from services.wire.hub import Grant
from tests.mcp_hub.support import OTHER, WORKSPACE

PRIVATE_V4 = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1"),
)
PRIVATE_V6 = ("::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1")
CARRIED = ("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001::1")
RESERVED = (
    *("::127.0.0.1", "::1.1.1.1", "::ffff:0:127.0.0.1", "::ffff:0:1.1.1.1", "64:ff9b:1::1", "64:ff9b:1::101:101"),
    *("192.88.99.1", "::ffff:192.88.99.1", "5f00::1", "3fff::1", "2002:a00:1::1", "2002:c058:6301::"),
    # A Teredo client with the public address 1.1.1.1.
    "2001:0:102:304:0:0:fefe:fefe",
)


def test_only_public_addresses_are_public() -> None:
    assert [
        text for text in (*PRIVATE_V4, *PRIVATE_V6, *CARRIED, *RESERVED) if is_public(ipaddress.ip_address(text))
    ] == []
    for text in (
        "1.1.1.1",
        "140.82.121.4",
        "2606:4700:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
        "2002:101:101::1",
    ):
        assert is_public(ipaddress.ip_address(text)), text


def test_globs_cover_hosts_and_ports() -> None:
    assert matches(["*.pypi.org"], "files.PyPI.org.", 443, (443, 80))
    assert not matches(["*.pypi.org"], "pypi.org", 443, (443, 80))
    assert not matches(["pypi.org"], "pypi.org", 22, (443, 80))
    assert matches(["pypi.org:22"], "pypi.org", 22, (443, 80))
    assert matches(["10.0.0.1:*"], "10.0.0.1", 9, (443,))
    assert matches(["[::1]:80"], "::1", 80, (443,))
    assert matches(["git.corp"], "git.corp", 2222)
    assert names_exactly(["a:1"], "A", 1)
    assert not names_exactly(["*:1", "a:*", "a"], "a", 1)
    assert split_authority("[::1]") == ("::1", None)
    assert split_authority("::1") == ("::1", None)


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_public_names_fit_every_model_api(server: str, tool: str) -> None:
    name = public_name(server, tool)
    assert 1 <= len(name) <= 64
    assert all(char.isascii() and (char.isalnum() or char in "_-") for char in name)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="a__status"):
        Registry({"a": git.TOOLS + git.TOOLS})


@given(st.text(max_size=3_000), st.integers(min_value=200, max_value=2_000))
def test_cut_text_keeps_its_head_its_tail_and_the_limit(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert len(short) <= limit
    if len(text) <= limit:
        assert short == text
    else:
        assert short[:50] == text[:50]
        assert short[-20:] == text[-20:]


def test_a_grant_without_globs_allows_nothing() -> None:
    policy = Policy(call_timeout_s=1, output_limit=1000)
    assert policy.allows(Grant(workspace_id=WORKSPACE), "git__log")
    assert not policy.allows(Grant(workspace_id=WORKSPACE, tools=[]), "git__log")
    assert not policy.allows(Grant(workspace_id=WORKSPACE, tools=["GIT__*"]), "git__log")


def test_the_audit_file_is_rotated_and_private(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "logs" / "audit.jsonl", limit=1_000, keep=2)
    for number in range(60):
        audit.write("test", number=number, text="x" * 50, odd="\udcff\n")
    files = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert files == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert all(path.stat().st_size <= 1_000 for path in (tmp_path / "logs").iterdir())
    newest = (tmp_path / "logs" / "audit.jsonl").read_text().splitlines()
    assert json.loads(newest[-1])["number"] == 59
    assert (tmp_path / "logs" / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_flood_pushes_no_earlier_line_out_and_is_told_by_its_number(tmp_path: Path) -> None:
    audit = Audit(tmp_path / "audit.jsonl", limit=250_000, keep=1)
    audit.write("call", workspace=OTHER, tool="git__log", text="earlier")
    for _ in range(5_000):
        audit.write_limited("egress", WORKSPACE, method="M" * 32_000, host="h" * 32_000, error="e" * 32_000)
    audit.write_limited("git", OTHER, bytes=1)
    audit.tell_suppressed()
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert lines[0]["text"] == "earlier"
    (flooded,) = [line for line in lines if line["kind"] == "suppressed"]
    kept = [line for line in lines if line["kind"] == "egress"]
    assert flooded["workspace"] == WORKSPACE
    assert flooded["lines"] + len(kept) == 5_000
    assert 200 <= len(kept) < 2_000
    assert [len(kept[0][name]) for name in ("method", "host", "error")] == [16, 255, 300]
    assert [line["workspace"] for line in lines if line["kind"] == "git"] == [OTHER]
    audit.tell_suppressed()
    assert (tmp_path / "audit.jsonl").read_text().count("suppressed") == 1


def test_a_rate_lets_a_burst_pass_and_then_so_many_a_second() -> None:
    now = 0.0
    rates = Rates(10, 5, clock=lambda: now)
    assert [rates.allow("a") for _ in range(7)] == [True] * 5 + [False] * 2
    assert rates.allow("b")
    now = 0.25
    assert [rates.allow("a") for _ in range(3)] == [True, True, False]
    assert rates.take_refused() == {"a": 3}
    assert rates.take_refused() == {}
    now = 60
    assert [rates.allow("a") for _ in range(6)] == [True] * 5 + [False]


def test_an_audit_that_cannot_be_written_is_told_by_its_part(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    audit = Audit(tmp_path / "logs" / "audit.jsonl")
    audit.write("test")
    assert audit.part().state == "degraded"


def test_credentials_are_kept_out_of_urls_and_messages() -> None:
    remote = remotes.parse("https://me:t%40ken@host.example/a/b.git")
    assert remote.url == "https://host.example/a/b.git"
    assert remote.config["http.https://host.example/a/b.git.extraHeader"] == "Authorization: Basic bWU6dEBrZW4="
    assert remotes.parse("https://me@host.example/a").config["credential.https://host.example/a.username"] == "me"
    assert remotes.parse("ssh://git:secret@host.example:22/a").url == "ssh://git@host.example:22/a"
    assert remotes.parse("git@host.example:a/b.git").url == "git@host.example:a/b.git"
    assert masked("fatal: 'https://u:p@h/x' and ssh://k@h") == "fatal: 'https://***@h/x' and ssh://***@h"


def test_what_git_says_decides_the_error() -> None:
    said = {
        "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.\n": (
            ErrorCode.REPOSITORY_FORBIDDEN,
            "publickey",
        ),
        "Host key verification failed.\nfatal: Could not read from remote repository.": (
            ErrorCode.REPOSITORY_FORBIDDEN,
            "accept its key",
        ),
        "remote: Repository not found.\nfatal: repository 'https://x:y@h/' not found": (
            ErrorCode.REPOSITORY_UNREACHABLE,
            "https://***@h/",
        ),
        "": (ErrorCode.REPOSITORY_UNREACHABLE, "without a word"),
    }
    for stderr, (code, words) in said.items():
        error = explain(stderr, host="h", ssh=True)
        assert error.code is code
        assert words in error.message


def test_settings_read_lists_and_git_inherits_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOORAGE_SERVICE_SECRET", "hush")
    monkeypatch.setenv("MCP_HUB_PRIVATE_HOSTS", "git.corp, 10.0.0.1:8080")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.private_hosts == ("git.corp", "10.0.0.1:8080")
    assert settings.service_secret.get_secret_value() == "hush"
    assert "hush" not in repr(settings)
    environment = user_environment()
    assert environment["SSH_AUTH_SOCK"] == "/agent"
    assert not {"MOORAGE_SERVICE_SECRET", "MCP_HUB_PRIVATE_HOSTS", "GIT_DIR"} & set(environment)


async def test_a_machine_without_git_is_told_to_install_it() -> None:
    with pytest.raises(ServiceError, match="install git") as missing:
        await Git({"PATH": "/nonexistent"}).run("version", timeout_s=5)
    assert missing.value.code is ErrorCode.NOT_READY
