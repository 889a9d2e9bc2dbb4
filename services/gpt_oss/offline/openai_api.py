"""The OpenAI surface of the offline engine: models, chat completions, streamed or not. Knows no rule."""

import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from fastapi.responses import JSONResponse, StreamingResponse

from services.chassis.app import VERSION, create_app
from services.gpt_oss.offline.completion import Completion, chunks
from services.gpt_oss.offline.conversation import read
from services.gpt_oss.offline.errors import ApiError, install_openai_handlers
from services.gpt_oss.offline.planner import Offer, plan
from services.gpt_oss.offline.schema import MODEL, OWNER, ChatRequest, NamedTool
from services.gpt_oss.offline.tools import Tool
from services.wire.health import Health, Part, PartState

_MODEL = {"id": MODEL, "object": "model", "created": 0, "owned_by": OWNER, "max_model_len": 131_072}

router = APIRouter()


def create_offline_app(*, body_limit: int) -> FastAPI:
    """Return the engine's app; bodies above `body_limit` bytes are refused."""
    app = create_app("moorage-gpt-oss", _no_state, [router], body_limit=body_limit)
    install_openai_handlers(app)
    return app


@router.get("/health")
async def health() -> Health:
    """Say that the engine answers, and that it is no model."""
    engine = Part(state=PartState.OK, detail="fixed rules, no language model", facts={"model": MODEL})
    return Health(status=PartState.OK, service="gpt_oss", version=VERSION, parts={"engine": engine})


@router.get("/v1/models")
async def models() -> dict[str, Any]:
    """List the one model there is."""
    return {"object": "list", "data": [_MODEL]}


@router.get("/v1/models/{model:path}")
async def model(model: str) -> dict[str, Any]:
    """Describe the model."""
    _check_model(model)
    return _MODEL


# Not async: planning is plain work of milliseconds, and a thread keeps it off the event loop.
@router.post("/v1/chat/completions")
def chat_completions(request: ChatRequest) -> Response:
    """Answer one request: the next tool calls, or the final text."""
    _check(request)
    completion = complete(request)
    if not request.stream:
        return JSONResponse(completion.body())
    usage = request.stream_options is not None and request.stream_options.include_usage
    return StreamingResponse(_each(chunks(completion, include_usage=usage)), media_type="text/event-stream")


def complete(request: ChatRequest) -> Completion:
    """Return the completion of a request that was checked."""
    offer = _offer(request)
    turn = plan(read(request.messages, closing=not (offer.may_call and offer.tools)), offer)
    seed = request.model_dump_json(include={"messages", "tools", "tool_choice"})
    return Completion(
        id=f"chatcmpl-{hashlib.sha256(seed.encode()).hexdigest()[:24]}",
        created=int(time.time()),
        turn=turn,
        prompt_characters=len(seed),
        token_limit=request.token_limit,
    )


def _offer(request: ChatRequest) -> Offer:
    named = request.tool_choice.function.name if isinstance(request.tool_choice, NamedTool) else None
    tools = [
        Tool(spec.function.name, spec.function.parameters or {})
        for spec in request.tools or ()
        if named is None or spec.function.name == named
    ]
    # `required` is taken as `auto`: a call that nobody needs would be worse than an answer.
    return Offer(tools, may_call=request.tool_choice != "none", parallel=request.parallel_tool_calls is not False)


def _check(request: ChatRequest) -> None:
    _check_model(request.model)
    if request.n not in (None, 1):
        raise ApiError(400, "The offline engine gives one choice; leave 'n' out.", param="n")
    if request.response_format is not None and request.response_format.type != "text":
        message = "The offline engine has no language model and answers in text only; leave 'response_format' out."
        raise ApiError(400, message, param="response_format")


def _check_model(name: str) -> None:
    if name != MODEL:
        message = f"The model {name!r} does not exist here; the offline engine serves {MODEL!r} only."
        raise ApiError(404, message, param="model", code="model_not_found")


async def _each(parts: list[str]) -> AsyncIterator[str]:
    for part in parts:
        yield part


@contextlib.asynccontextmanager
async def _no_state(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    yield {}
