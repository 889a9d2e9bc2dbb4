"""Who may call: signed tokens, secrets, and the loopback rule."""

import time

import jwt
import pytest
from starlette.requests import HTTPConnection

from services.chassis.auth import bearer, from_own_loopback, is_loopback, require_secret, sign, verify
from services.chassis.errors import ServiceError
from services.chassis.peers import Address

KEY = "k" * 32
OTHER = "o" * 32
CLAIMS = {"workspace_id": "ws-1", "aud": "here", "exp": 4_102_444_800}


def connection(peer: str | None = "127.0.0.1", **headers: str) -> HTTPConnection:
    """A request from `peer` with these headers."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    client = (peer, 5000) if peer is not None else None
    return HTTPConnection({"type": "http", "headers": raw, "client": client, "server": ("127.0.0.1", 8080)})


def anyone(_: Address, __: Address) -> bool:
    """As if every connection were our own account's."""
    return True


def test_another_account_of_this_machine_is_not_let_in() -> None:
    assert from_own_loopback(connection(host="localhost"), ours=anyone)
    assert not from_own_loopback(connection(host="localhost"), ours=lambda *_: False)


@pytest.mark.parametrize(
    ("site", "passes"), [("none", True), ("same-origin", True), ("same-site", False), ("cross-site", False)]
)
def test_a_browsers_page_of_another_site_is_not_let_in(site: str, passes: bool) -> None:
    asked = connection(**{"host": "localhost", "sec-fetch-site": site})
    assert from_own_loopback(asked, ours=anyone) is passes


def test_a_signed_token_is_verified_with_its_claims() -> None:
    claims = verify(sign({"workspace_id": "ws-1"}, KEY, audience="here", ttl_s=60), KEY, audience="here")
    assert claims["workspace_id"] == "ws-1"
    assert claims["exp"] - claims["iat"] == 60


@pytest.mark.parametrize(
    "token",
    [
        sign({}, OTHER, audience="here", ttl_s=60),
        sign({}, KEY, audience="there", ttl_s=60),
        jwt.encode(CLAIMS, "", algorithm="none"),
        jwt.encode(CLAIMS, "x" * 64, algorithm="HS512"),
        jwt.encode(CLAIMS, "k" * 64, algorithm="HS512"),
        jwt.encode({"aud": "here"}, KEY, algorithm="HS256"),
        jwt.encode({"exp": CLAIMS["exp"]}, KEY, algorithm="HS256"),
        jwt.encode(CLAIMS, KEY, algorithm="HS256") + "x",
        "",
        "a.b.c",
        "ü",
    ],
)
def test_any_other_token_is_refused_without_being_repeated(token: str) -> None:
    with pytest.raises(ServiceError) as caught:
        verify(token, KEY, audience="here")
    assert caught.value.code == "unauthenticated"
    assert caught.value.message == "The token is not valid here."


def test_an_expired_token_says_so() -> None:
    with pytest.raises(ServiceError, match="expired; ask for a new one"):
        verify(jwt.encode({**CLAIMS, "exp": int(time.time()) - 1}, KEY, algorithm="HS256"), KEY, audience="here")


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("", None),
    ],
)
def test_a_bearer_token_is_read(header: str, token: str | None) -> None:
    assert bearer(connection(authorization=header)) == token


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer \xe9", "Basic right", "right", "Bearer right2", ""])
def test_only_the_secret_passes(header: str) -> None:
    require_secret(connection(authorization="Bearer right"), "right")
    with pytest.raises(ServiceError, match="Authorization: Bearer") as caught:
        require_secret(connection(authorization=header), "right")
    assert "right" not in caught.value.message
    with pytest.raises(ServiceError):
        require_secret(connection(authorization=header), "")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1", "[::1]"])
def test_loopback_names_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.evil.example", "127.0.0.1.nip.io", "0.0.0.0", "10.0.0.1", "::", "2130706433"]
)
def test_other_names_are_not(host: str) -> None:
    assert not is_loopback(host)


OWN = [
    ("127.0.0.1", "127.0.0.1:8080", None),
    ("127.0.0.1", "localhost:8080", None),
    ("::1", "[::1]:8080", None),
    ("127.0.0.1", "localhost:8080", "http://localhost:8080"),
    ("127.0.0.1", "127.0.0.1", "http://127.0.0.1"),
]
FOREIGN = [
    ("10.0.0.1", "localhost:8080", None),
    (None, "localhost", None),
    ("127.0.0.1", "evil.example", None),
    ("127.0.0.1", "evil.example:8080", "http://evil.example:8080"),
    ("127.0.0.1", "", None),
    ("127.0.0.1", "localhost:8080", "http://localhost:3000"),
    ("127.0.0.1", "localhost:8080", "https://evil.example"),
    ("127.0.0.1", "localhost:8080", "null"),
    ("127.0.0.1", "localhost:8080", ""),
    ("127.0.0.1", "localhost@evil.example", None),
    ("127.0.0.1", "[::1", None),
    ("127.0.0.1", "localhost", "http://["),
    ("127.0.0.1", "localhost:x", "http://["),
]


@pytest.mark.parametrize(("peer", "host", "origin"), OWN)
def test_a_request_of_this_machine_passes(peer: str, host: str, origin: str | None) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    assert from_own_loopback(connection(peer, **headers), ours=anyone)


@pytest.mark.parametrize(("peer", "host", "origin"), FOREIGN)
def test_a_foreign_page_name_or_peer_does_not(peer: str | None, host: str, origin: str | None) -> None:
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    assert not from_own_loopback(connection(peer, **headers), ours=anyone)
