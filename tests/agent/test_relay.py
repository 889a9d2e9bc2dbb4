"""The way out: bytes both ways, each direction with an end of its own."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.agent.relay import Relay
from services.agent.settings import Settings
from tests.agent.support import serving


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    relay, ready = Relay(tmp_path / "egress.sock", 0), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(relay.serve(ready))
        await ready.wait()
        yield relay
        task.cancel()


async def count_to_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer only after the caller's end, as a program that reads all of its input does."""
    sent = await reader.read()
    writer.write(f"got {len(sent)} bytes ".encode() + sent[:5])
    await writer.drain()
    writer.close()


async def test_bytes_pass_both_ways_and_an_end_of_one_direction_keeps_the_other(relay: Relay, tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(count_to_the_end, tmp_path / "egress.sock")
    async with asyncio.timeout(5), server:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"hello" * 100_000)
        writer.write_eof()
        answer = await reader.read()
        writer.close()

    assert answer == b"got 500000 bytes hello"


async def test_without_a_proxy_the_client_is_told_in_http(relay: Relay) -> None:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        answer = await reader.read()
        writer.close()

    assert answer.startswith(b"HTTP/1.1 502 ")


async def test_many_connections_at_once_do_not_mix(relay: Relay, tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(count_to_the_end, tmp_path / "egress.sock")
    answers: dict[int, bytes] = {}

    async def ask(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"x" * number)
        writer.write_eof()
        answers[number] = await reader.read()
        writer.close()

    async with asyncio.timeout(5), server, asyncio.TaskGroup() as group:
        for number in range(1, 40):
            group.create_task(ask(number))

    assert answers == {n: f"got {n} bytes ".encode() + b"x" * min(n, 5) for n in range(1, 40)}


async def test_commands_and_git_use_the_relay_when_there_is_an_egress_socket(
    settings: Settings, tmp_path: Path, unused_tcp_port: int
) -> None:
    asked = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().split()[:2])
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_unix_server(proxy, tmp_path / "egress.sock")
    out = settings.model_copy(update={"egress_socket": tmp_path / "egress.sock", "proxy_port": unused_tcp_port})
    async with server, serving(out, protocols=("http",)) as agent:
        url = "http://git.moorage/ws/x.git"
        refusal = await agent.refused("/open", remote=url, commit="0" * 40)
        await agent.exec(f"git ls-remote {url}")

    assert refusal[:2] == (502, "repository_unreachable")
    assert asked == [["GET", f"{url}/info/refs?service=git-upload-pack"]] * 2
