import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.domain import BadRepository, parse_repo_url, scratch_workspace_id, workspace_id
from services.wire.base import WORKSPACE_PATTERN

SAME_REPOSITORY = [
    "https://github.com/owner/name",
    "https://github.com/owner/name.git",
    "https://github.com/owner/name/",
    "https://GitHub.com/owner/name",
    "https://github.com:443/owner/name",
    "http://github.com/owner/name",
    "http://github.com:80/owner/name.git",
    "ssh://git@github.com/owner/name.git",
    "ssh://github.com:22/owner/name",
    "git@github.com:owner/name.git",
    "github.com:owner/name",
    "git://github.com/owner/name",
    "  https://github.com/owner/name\n".strip(),
]


@pytest.mark.parametrize("text", SAME_REPOSITORY)
def test_every_form_of_one_repository_gives_one_identity(text: str) -> None:
    assert parse_repo_url(text).canonical == "github.com/owner/name"


def test_the_workspace_id_is_the_first_twenty_digits_of_the_hash() -> None:
    # sha256("github.com/owner/name"), computed with sha256sum.
    assert parse_repo_url(SAME_REPOSITORY[0]).workspace_id == "ws-62921f1ffa4de1230639"


def test_paths_and_other_ports_are_other_repositories() -> None:
    texts = ["https://h/a/b", "https://h/a/c", "https://h/A/b", "https://h:8443/a/b", "https://i/a/b"]
    assert len({parse_repo_url(text).canonical for text in texts}) == len(texts)


def test_git_is_given_the_form_the_caller_chose() -> None:
    assert parse_repo_url("git@github.com:owner/name.git").fetch_url == "git@github.com:owner/name.git"
    assert parse_repo_url("ssh://me@host:2222/x").fetch_url == "ssh://me@host:2222/x"
    assert parse_repo_url("https://Host/x.git").fetch_url == "https://host/x.git"


def test_a_local_path_is_resolved(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for text in (f"{tmp_path}/link/", f"file://{tmp_path}", f"{tmp_path}/x/.."):
        assert parse_repo_url(text).canonical == f"file://{tmp_path}"
    assert parse_repo_url(str(tmp_path)).kind == "local"


@pytest.mark.parametrize(
    "text",
    [
        "https://user:secret-token@github.com/o/n",
        "https://secret-token@github.com/o/n",
        "ssh://git:secret-token@github.com/o/n",
        "http://secret-token:x-oauth-basic@github.com/o/n",
    ],
)
def test_credentials_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(BadRepository, match="credentials") as refused:
        parse_repo_url(text)
    assert "secret-token" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "owner/name",
        "./relative",
        "--upload-pack=touch /tmp/x",
        "-oProxyCommand=x",
        "ext::sh -c touch% /tmp/x",
        "javascript://alert(1)",
        "ftp://host/a/b",
        "data://x/y",
        "gopher://169.254.169.254/x",
        "https://",
        "https:///path",
        "https://host",
        "https://host/",
        "https://host/../../etc",
        "https://host/a?x=1",
        "https://host/a#b",
        "https://ho st/a",
        "https://-host/a",
        "https://host:99999/a",
        "https://host:x/a",
        "https://host/a\nb",
        "https://host/a\x00b",
        "file://server/share",
        "~nobody-of-that-name/x",
        "git@-evil:owner/name",
        "git@host:",
    ],
)
def test_what_is_no_repository_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadRepository) as refused:
        parse_repo_url(text)
    assert len(str(refused.value)) > 20


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        repository = parse_repo_url(text)
    except BadRepository:
        return
    assert re.match(WORKSPACE_PATTERN, repository.workspace_id)
    assert not repository.fetch_url.startswith("-")
    assert "\n" not in repository.fetch_url


def test_ids_have_the_form_the_wire_demands() -> None:
    assert re.match(WORKSPACE_PATTERN, workspace_id("x"))
    assert re.match(WORKSPACE_PATTERN, scratch_workspace_id())
    assert scratch_workspace_id() != scratch_workspace_id()
