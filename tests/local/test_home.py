"""The home: its rights, its secrets, and what cannot be one."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.local.home import Home, HomeError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_home_and_all_below_are_private_and_nothing_above_changes(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    home = Home.find(tmp_path / "deep" / "home")
    home.prepare()
    for path in (home.path, home.logs, home.mirrors, home.workspaces, home.pg, home.run_dir):
        assert mode(path) == 0o700
    assert mode(tmp_path) == 0o755


def test_secrets_are_private_differ_and_stay(tmp_path: Path) -> None:
    home = Home.find(tmp_path / "home")
    token, secret = home.token, home.service_secret
    assert len(token) >= 32
    assert token != secret
    assert (Home.find(tmp_path / "home").token, home.service_secret) == (token, secret)
    assert mode(home.path / "token") == mode(home.path / "secret") == 0o600
    assert not list(home.path.glob(".token-*"))


def test_many_first_readers_of_the_token_get_one(tmp_path: Path) -> None:
    home = Home.find(tmp_path / "home")
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: home.token, range(32)))) == 1


def test_the_environment_names_the_home_and_the_default_is_in_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MOORAGE_HOME", raising=False)
    assert Home.find().path == tmp_path / ".moorage"
    monkeypatch.setenv("MOORAGE_HOME", str(tmp_path / "other"))
    assert Home.find().path == tmp_path / "other"
    assert Home.find(tmp_path / "given").path == tmp_path / "given"


def test_two_homes_have_two_marks_and_a_link_to_one_has_its_mark(tmp_path: Path) -> None:
    home = Home.find(tmp_path / "home")
    home.prepare()
    (tmp_path / "link").symlink_to(home.path)
    assert Home.find(tmp_path / "link").mark == home.mark
    assert Home.find(tmp_path / "other").mark != home.mark


def test_sockets_fit_however_long_the_homes_path_is(tmp_path: Path) -> None:
    short, long = Home(Path("/h")), Home.find(tmp_path / ("x" * 100))
    assert short.run_dir == Path("/h/run")
    assert len(str(long.run_dir / "ws-0123456789abcdef0123" / "egress.sock")) < 80
    long.prepare()
    assert mode(long.run_dir) == 0o700
    long.run_dir.rmdir()


def test_a_foreign_run_dir_in_tmp_is_refused(tmp_path: Path) -> None:
    home = Home.find(tmp_path / ("x" * 100))
    home.run_dir.symlink_to(tmp_path)
    try:
        with pytest.raises(HomeError, match="is not a directory"):
            home.prepare()
    finally:
        home.run_dir.unlink()


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(HomeError, match="not a directory; set MOORAGE_HOME"):
            Home.find(path).prepare()


def test_a_directory_others_may_write_is_no_home_and_is_not_changed(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(HomeError, match="writable by other users"):
        Home.find(shared).prepare()
    assert mode(shared) == 0o1777


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_somebody_elses_directory_is_no_home(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 1234, 1234)
    with pytest.raises(HomeError, match=r"belongs to another user \(uid 1234\)"):
        Home.find(theirs).prepare()


def test_an_empty_secret_is_told_and_not_used(tmp_path: Path) -> None:
    home = Home.find(tmp_path / "home")
    home.prepare()
    (home.path / "token").touch()
    with pytest.raises(HomeError, match="is empty; remove it"):
        _ = home.token
