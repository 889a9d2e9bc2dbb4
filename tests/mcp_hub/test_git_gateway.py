"""The read-only git face, with the real git client."""

import gzip
import json
from pathlib import Path

import httpx
import pytest

from tests.mcp_hub.support import OTHER, WORKSPACE, Hub, git


@pytest.fixture
def mirrored(hub: Hub, repository: Path) -> Hub:
    (repository / "README.md").write_text("# Dirty\n")
    assert hub.mirror(repository, local=True).status_code == 200
    return hub


def face(hub: Hub) -> str:
    return f"{hub.url}/git/{WORKSPACE}.git"


def authorised(hub: Hub, folder: Path, *arguments: str) -> str:
    return git(folder, "-c", f"http.extraHeader=Authorization: Bearer {hub.grant()}", *arguments)


def test_git_clones_and_fetches_any_commit_with_a_grant(mirrored: Hub, repository: Path, tmp_path: Path) -> None:
    for version in ("0", "2"):
        clone = tmp_path / f"clone{version}"
        authorised(mirrored, tmp_path, "-c", f"protocol.version={version}", "clone", "-q", face(mirrored), str(clone))
        assert git(clone, "rev-parse", "origin/main") == git(repository, "rev-parse", "main")
        dirty = mirrored.mirror(repository, local=True).json()["commit"]
        authorised(mirrored, clone, "fetch", "-q", "--depth=1", "origin", dirty)
        assert git(clone, "show", "FETCH_HEAD:README.md") == "# Dirty"
    lines = [json.loads(line) for line in mirrored.audit_file.read_text().splitlines()]
    served = [line for line in lines if line["kind"] == "git"]
    assert len(served) >= 6
    assert all(line["ok"] and line["workspace"] == WORKSPACE for line in served)


def test_a_push_is_refused_with_a_reason(mirrored: Hub, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    authorised(mirrored, tmp_path, "clone", "-q", face(mirrored), str(clone))
    git(clone, "commit", "-q", "--allow-empty", "-m", "mine")
    with pytest.raises(AssertionError, match="403"):
        authorised(mirrored, clone, "push", "origin", "HEAD:main")
    headers = {"Authorization": f"Bearer {mirrored.grant()}"}
    answer = httpx.get(f"{face(mirrored)}/info/refs?service=git-receive-pack", headers=headers, trust_env=False)
    assert answer.status_code == 403
    assert "read-only" in answer.json()["error"]["message"]
    assert httpx.post(f"{face(mirrored)}/git-receive-pack", headers=headers, trust_env=False).status_code == 403


def test_only_a_grant_of_the_workspace_opens_its_repository(mirrored: Hub) -> None:
    def status(token: str | None, workspace: str = WORKSPACE, path: str = "info/refs?service=git-upload-pack") -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"{mirrored.url}/git/{workspace}.git/{path}"
        return httpx.get(url, headers=headers, trust_env=False).status_code

    assert status(None) == 401
    assert status(mirrored.grant(OTHER)) == 403
    assert status(mirrored.grant(OTHER), OTHER) == 404
    assert status(mirrored.grant(), path="HEAD") == 404
    assert status(mirrored.grant(), path="info/refs") == 403
    assert status(mirrored.grant()) == 200


def test_compressed_requests_are_read_and_bombs_are_not(mirrored: Hub) -> None:
    listing = b"0014command=ls-refs\n0000"
    headers = {"Authorization": f"Bearer {mirrored.grant()}", "Git-Protocol": "version=2", "Content-Encoding": "gzip"}

    def post(body: bytes) -> httpx.Response:
        return httpx.post(f"{face(mirrored)}/git-upload-pack", content=body, headers=headers, trust_env=False)

    good = post(gzip.compress(listing))
    assert good.headers["content-type"] == "application/x-git-upload-pack-result"
    assert b"refs/heads/main" in good.content
    assert post(gzip.compress(b"0" * 80_000_000)).status_code == 413
    assert post(b"not gzip").status_code == 400
    assert post(gzip.compress(b"nonsense")).status_code == 400
