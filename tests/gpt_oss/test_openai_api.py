"""The OpenAI surface, through OpenAI's own client and, where it would not send such a thing, by hand."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from services.gpt_oss.main import build
from services.gpt_oss.settings import Settings
from tests.gpt_oss.hands import HUB_TOOLS, SHELL_ONLY, Hands, ask

MESSAGES: Any = [{"role": "user", "content": "What does this project do?"}]
TOOLS: Any = HUB_TOOLS


async def post(body: Any, **settings: Any) -> httpx.Response:
    transport = httpx.ASGITransport(build(Settings(**settings)), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as http:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await http.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})


async def test_the_models_are_one_that_says_what_it_is(client: AsyncOpenAI) -> None:
    page = await client.models.list()
    assert [(model.id, model.owned_by) for model in page.data] == [("offline-rules", "moorage")]
    assert (await client.models.retrieve("offline-rules")).id == "offline-rules"


async def test_a_first_turn_is_a_call_with_its_reason(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(model="offline-rules", messages=MESSAGES, tools=TOOLS)
    choice = reply.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    calls: Any = choice.message.tool_calls
    assert [(call.function.name, json.loads(call.function.arguments)) for call in calls] == [
        ("filesystem__list_directory", {"path": ".", "depth": 1})
    ]
    assert (choice.message.model_extra or {})["reasoning"].startswith("Rule: Overview.")
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


async def test_a_stream_of_calls_is_the_same_turn_in_pieces(client: AsyncOpenAI) -> None:
    whole = await client.chat.completions.create(model="offline-rules", messages=MESSAGES, tools=TOOLS)
    stream = await client.chat.completions.create(
        model="offline-rules", messages=MESSAGES, tools=TOOLS, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "reasoning" in (deltas[1].model_extra or {})
    pieces = [call for delta in deltas for call in delta.tool_calls or []]
    expected: Any = whole.choices[0].message.tool_calls
    assert pieces[0].id == expected[0].id
    assert "".join(call.function.arguments or "" for call in pieces if call.function) == expected[0].function.arguments
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "tool_calls"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


async def test_a_stream_of_text_is_the_same_answer_word_by_word(client: AsyncOpenAI) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    whole = await client.chat.completions.create(model="offline-rules", messages=hello)
    stream = await client.chat.completions.create(model="offline-rules", messages=hello, stream=True)
    chunks = [chunk async for chunk in stream]
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert "".join(words) == whole.choices[0].message.content
    assert len(words) > 50
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_stream_ends_with_done() -> None:
    reply = await post({"model": "offline-rules", "messages": MESSAGES, "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.text.endswith("data: [DONE]\n\n")


async def test_the_same_request_gives_the_same_bytes() -> None:
    body = {"model": "offline-rules", "messages": MESSAGES, "tools": HUB_TOOLS}
    first, second = (await post(body)).json(), (await post(body)).json()
    assert {**first, "created": 0} == {**second, "created": 0}


async def test_one_call_at_a_time_when_the_caller_wants_it_so(client: AsyncOpenAI, hands: Hands) -> None:
    together = await ask(client, hands, "What does this project do?")
    alone = await ask(client, hands, "What does this project do?", parallel_tool_calls=False)
    assert together == alone


async def test_tool_choice_none_gives_an_answer(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model="offline-rules", messages=MESSAGES, tools=TOOLS, tool_choice="none"
    )
    assert reply.choices[0].finish_reason == "stop"
    assert "I could not list the repository" in (reply.choices[0].message.content or "")


async def test_a_named_tool_is_the_only_one_that_is_called(client: AsyncOpenAI) -> None:
    reply = await client.chat.completions.create(
        model="offline-rules",
        messages=MESSAGES,
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "shell__exec"}},
    )
    calls: Any = reply.choices[0].message.tool_calls
    assert {call.function.name for call in calls} == {"shell__exec"}


async def test_typed_parts_and_other_roles_are_read(client: AsyncOpenAI) -> None:
    messages: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Fix it all"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": [{"type": "text", "text": "List files"}, {"type": "image_url", "image_url": {}}]},
    ]
    reply = await client.chat.completions.create(model="offline-rules", messages=messages)
    text = reply.choices[0].message.content or ""
    assert text.startswith("I could not list")
    assert "It read only your last message, not the earlier ones." in text


async def test_a_word_after_the_last_step_is_no_new_request(client: AsyncOpenAI) -> None:
    call = {"name": "filesystem__list_directory", "arguments": '{"path": ".", "depth": 1}'}
    messages: Any = [
        {"role": "user", "content": "List files"},
        {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "a", "content": "boat.py\ncargo/"},
        {"role": "user", "content": "The step limit is reached. Without calling a tool, say what you found."},
    ]
    reply = await client.chat.completions.create(model="offline-rules", messages=messages)
    assert (reply.choices[0].message.content or "").startswith("```\nboat.py\ncargo/\n```")


async def test_after_eight_calls_there_is_an_answer(client: AsyncOpenAI) -> None:
    def call(number: int) -> dict[str, Any]:
        return {"id": f"c{number}", "type": "function", "function": {"name": "bash", "arguments": '{"command": "x"}'}}

    messages: list[Any] = [{"role": "user", "content": "List files"}]
    for number in range(8):
        messages.append({"role": "assistant", "tool_calls": [call(number)]})
        messages.append({"role": "tool", "tool_call_id": f"c{number}", "content": "y"})
    tools: Any = SHELL_ONLY
    reply = await client.chat.completions.create(model="offline-rules", messages=messages, tools=tools)
    assert reply.choices[0].finish_reason == "stop"
    assert "no more tool calls are allowed" in (reply.choices[0].message.content or "")


async def test_an_answer_keeps_to_the_caller_s_token_limit(client: AsyncOpenAI) -> None:
    hello: Any = [{"role": "user", "content": "hello"}]
    reply = await client.chat.completions.create(model="offline-rules", messages=hello, max_tokens=5)
    assert reply.choices[0].finish_reason == "length"
    assert len(reply.choices[0].message.content or "") == 20


async def test_another_model_is_not_pretended(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="offline-rules") as caught:
        await client.chat.completions.create(model="gpt-oss-20b", messages=MESSAGES)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "offline-rules"}, "messages"),
        ({"model": "offline-rules", "messages": []}, "messages"),
        ({"model": "offline-rules", "messages": "hello"}, "messages"),
        ({"model": "offline-rules", "messages": [{"role": "pirate", "content": "x"}]}, "messages"),
        ({"model": "offline-rules", "messages": [{"role": "user", "content": 7}]}, "messages"),
        ({"model": "offline-rules", "messages": MESSAGES, "tools": [{"type": "function"}]}, "tools"),
        ({"model": "offline-rules", "messages": MESSAGES, "n": 2}, "n"),
        ({"model": "offline-rules", "messages": MESSAGES, "max_tokens": 0}, "max_tokens"),
        (
            {"model": "offline-rules", "messages": MESSAGES, "response_format": {"type": "json_object"}},
            "response_format",
        ),
        ([], None),
        (b"{", None),
        (b"", None),
        (b"[" * 100_000, None),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', None),
    ],
)
async def test_a_bad_body_is_refused_in_openai_s_shape(body: Any, param: str | None) -> None:
    reply = await post(body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]


async def test_a_body_above_the_limit_is_refused_in_openai_s_shape() -> None:
    reply = await post(
        {"model": "offline-rules", "messages": [{"role": "user", "content": "x" * 3000}]}, body_limit=2000
    )
    assert reply.status_code == 413
    assert reply.json()["error"]["code"] == "too_large"
    assert "2,000 bytes" in reply.json()["error"]["message"]


async def test_an_unknown_route_is_refused_in_openai_s_shape() -> None:
    transport = httpx.ASGITransport(build(Settings()))
    async with httpx.AsyncClient(transport=transport, base_url="http://engine") as http:
        reply = await http.post("/v1/responses", json={})
        health = await http.get("/health")
    assert reply.status_code == 404
    assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert health.json()["status"] == "ok"


async def test_tools_of_any_schema_are_survived(client: AsyncOpenAI) -> None:
    odd: Any = [
        {"type": "function", "function": {"name": "list_directory"}},
        {"type": "function", "function": {"name": "grep", "parameters": {"properties": [], "required": "x"}}},
        {
            "type": "function",
            "function": {"name": "read", "parameters": {"properties": {"path": True}, "required": [1]}},
        },
    ]
    reply = await client.chat.completions.create(model="offline-rules", messages=MESSAGES, tools=odd)
    assert reply.choices[0].finish_reason == "tool_calls"


async def test_the_process_serves_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.gpt_oss.main",
        env={"PATH": os.defpath, "GPT_OSS_UDS": str(path)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        transport = httpx.AsyncHTTPTransport(uds=str(path), retries=0)
        http = httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=5)
        async with (
            asyncio.timeout(15),
            AsyncOpenAI(base_url="http://engine/v1", api_key="none", http_client=http, max_retries=30) as client,
        ):
            assert [model.id async for model in client.models.list()] == ["offline-rules"]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() in (0, -signal.SIGTERM)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
