"""The routes: one per method of the desk, under /v1. What goes wrong has the same shape everywhere."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated, Any, Final, cast

import structlog
import trio
import trio.lowlevel
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.trouble import Exit, Trouble, usage

from .desk import Desk, View
from .metrics import CONTENT_TYPE, metrics_text
from .models import (
    AcceptBody,
    AskBody,
    DecideBody,
    DeclineBody,
    HookChange,
    JobBody,
    OfferBody,
    PreviewBody,
    ProgramBody,
    Strict,
    WithdrawBody,
)

EXIT_HEADER: Final = "Intentcast-Exit"
"""On every error: the exit code a command should end with."""

MAX_BODY: Final = 64 * 1024
"""Bytes. The largest honest body is a wish with all its texts, about 10 KiB."""

SSE_QUIET: Final = 15.0
"""Seconds after which a silent event stream says that it is alive, so that a dead client is noticed."""

_STATUS: Final = {
    Exit.USAGE: HTTPStatus.BAD_REQUEST,
    Exit.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Exit.NOT_RUNNING: HTTPStatus.SERVICE_UNAVAILABLE,
    Exit.REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    Exit.NOTHING_CAME: HTTPStatus.GATEWAY_TIMEOUT,
    Exit.LOCKED: HTTPStatus.LOCKED,
}

log = structlog.get_logger("node.api")


def make_api(desk: Desk) -> FastAPI:
    """The ASGI application in front of a desk."""
    api = FastAPI(
        title="intentcast",
        version="1",
        description="The local API of one node: wishes, offers, contracts. See node/cli/README.md for the shapes.",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they fetch their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses={"default": {"description": "An error", "content": {"application/json": {"example": _EXAMPLE}}}},
    )
    api.add_middleware(BoundedBody)
    api.add_exception_handler(Trouble, _trouble)
    api.add_exception_handler(RequestValidationError, _bad_request)
    api.add_exception_handler(HTTPException, _no_such_route)
    api.add_exception_handler(Exception, _bug)
    _add_wishes(api, desk)
    _add_offers(api, desk)
    _add_vendor(api, desk)
    _add_node(api, desk)
    return api


def _add_wishes(api: FastAPI, desk: Desk) -> None:
    @api.post("/v1/preview", summary="What of a wish would be public and what stays here. Nothing is stored or sent")
    async def preview(body: PreviewBody) -> View:
        return await desk.preview(_said(body.wish))

    @api.post("/v1/ask", summary="Broadcast a wish, or a revision of one")
    async def ask(body: AskBody) -> View:
        return await desk.ask(_said(body.wish), body.reach_wait)

    @api.get("/v1/wishes", summary="Own wishes")
    async def wishes() -> View:
        return {"intents": await desk.wishes()}

    @api.get("/v1/heard", summary="Wishes heard from others")
    async def heard() -> View:
        return {"intents": await desk.heard()}

    @api.get("/v1/show/{id_text}", summary="A wish, an offer or a contract")
    async def show(id_text: str) -> View:
        return await desk.show(id_text)

    @api.post("/v1/withdraw/{id_text}", summary="End an own wish, or take an own offer back")
    async def withdraw(id_text: str, body: WithdrawBody | None = None) -> View:
        return await desk.withdraw(id_text, body.reason if body is not None else None)


def _add_offers(api: FastAPI, desk: Desk) -> None:
    @api.get("/v1/wishes/{id_text}/offers", summary="Offers to an own wish, the best first")
    async def offers_for(id_text: str, include_hidden: bool = False) -> View:
        return await desk.offers_for(id_text, include_hidden)

    @api.get("/v1/offers", summary="Offers this node made")
    async def offers_made() -> View:
        return {"offers": await desk.offers_made()}

    @api.post("/v1/heard/{id_text}/offer", summary="Answer a wish by hand")
    async def make_offer(id_text: str, body: OfferBody) -> View:
        return await desk.make_offer(id_text, _said(body))

    @api.post("/v1/offers/{id_text}/accept", summary="Accept an offer and wait for its confirm")
    async def accept(id_text: str, body: AcceptBody) -> View:
        return await desk.accept(
            id_text, body.contact, body.note, body.options, body.wait, body.tell_others, body.answer_within
        )

    @api.post("/v1/offers/{id_text}/decline", summary="Decline an offer")
    async def decline(id_text: str, body: DeclineBody) -> View:
        return await desk.decline(id_text, body.reason)


def _add_vendor(api: FastAPI, desk: Desk) -> None:
    @api.post("/v1/vendor/accepts/{id_text}", summary="Confirm or reject an accept that waits for its vendor")
    async def decide(id_text: str, body: DecideBody) -> View:
        return await desk.decide(id_text, body.confirm, body.reason, body.note, body.reference)

    @api.post("/v1/vendor/programs", summary="A vendor's program comes to work", response_class=EventStream)
    async def program(body: ProgramBody) -> EventStream:
        """Server-sent jobs, for as long as the program reads them: `wish` and `accept`, each with ten seconds."""
        return EventStream(await desk.program(_said(body)), None)

    @api.post("/v1/vendor/jobs/{job_id}", summary="What a program made of a job")
    async def answer_job(job_id: str, body: JobBody) -> View:
        return await desk.answer_job(job_id, _said(body))

    @api.get("/v1/vendor/stats", summary="What this vendor did, and what became of it")
    async def stats(days: Annotated[int, Query(ge=1, le=400)] = 30) -> View:
        return await desk.office.stats(days)

    @api.get("/v1/vendor/unanswered", summary="Wishes that were not answered, each with the reason")
    async def unanswered() -> View:
        return await desk.office.unanswered()

    @api.get("/v1/vendor/leads", summary="Offers made, with their person once disclosed")
    async def leads() -> View:
        return await desk.office.leads()

    @api.get("/v1/vendor/hooks", summary="Where the vendor's own systems are told what happens")
    async def hooks() -> View:
        return await desk.office.hook_views()

    @api.post("/v1/vendor/hooks", summary="Add, rotate or remove a hook")
    async def hook(body: HookChange) -> View:
        return await desk.office.hook(_said(body))

    @api.delete("/v1/vendor/programs/{name}", summary="Wait for a program no longer")
    async def forget_program(name: str) -> View:
        return await desk.forget_program(name)


def _add_node(api: FastAPI, desk: Desk) -> None:
    @api.get("/metrics", summary="Figures for Prometheus", response_class=PlainTextResponse)
    async def metrics() -> Response:
        began = trio.current_time()
        await trio.lowlevel.checkpoint()  # one turn of the loop, with whatever waits in it
        text = metrics_text(await desk.status(), trio.current_time() - began)
        return PlainTextResponse(text, media_type=CONTENT_TYPE)

    @api.get("/v1/trace/{id_text}", summary="What this node saw of one wish, step by step")
    async def trace(id_text: str) -> View:
        return await desk.trace(id_text)

    @api.get("/v1/status", summary="This node")
    async def status() -> View:
        return await desk.status()

    @api.get("/v1/peers", summary="Peers this node is linked to")
    async def peers() -> View:
        return {"peers": await desk.peers()}

    @api.get("/v1/invite", summary="An address others can join by")
    async def invite() -> View:
        return await desk.invite()

    @api.get("/v1/events", summary="Server-sent events with ids; since= resumes", response_class=EventStream)
    async def events(
        request: Request, since: Annotated[int | None, Query(ge=-1)] = None, about: str | None = None
    ) -> EventStream:
        """`since=-1`: only new ones. `about`: only those that name this wish, offer or contract."""
        if since is None:  # what a browser says when it comes back
            last = request.headers.get("last-event-id", "")
            since = int(last) if last.isascii() and last.isdigit() and len(last) < 19 else 0
        return EventStream(desk.events(since), about)


def _said(body: Strict) -> dict[str, Any]:
    """Only what the client said: the desk knows the defaults."""
    return body.model_dump(exclude_unset=True)


class EventStream(Response):
    """Server-sent events of one desk iterator, until the client goes or the node ends."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[View], about: str | None, status_code: int = 200) -> None:
        super().__init__(status_code=status_code)  # FastAPI reads its default for the OpenAPI document
        self._events = events
        self._about = about

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        turn = trio.Lock()  # events and signs of life must not be written into each other

        async def write(text: str) -> None:
            async with turn:
                await send({"type": "http.response.body", "body": text.encode(), "more_body": True})

        async def stay_alive() -> None:
            while True:
                await write(": alive\n\n")
                await trio.sleep(SSE_QUIET)

        async def leave_with_client() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay_alive)
            nursery.start_soon(leave_with_client)
            async with aclosing(cast(Any, self._events)) as events:
                async for event in events:
                    if self._about is None or self._about in event.values():
                        await write(f"id: {event['id']}\nevent: {event['type']}\ndata: {json.dumps(event)}\n\n")
            nursery.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b""})


# --------------------------------------------------------------------------------------------------------- errors

_EXAMPLE: Final = {"error": {"code": "not_found", "message": "there is no offer 0a1b2c3d", "hint": ""}}


def _error(trouble: Trouble, status: int) -> JSONResponse:
    return JSONResponse(trouble.as_dict(), status, {EXIT_HEADER: str(int(trouble.exit_code))})


async def _trouble(request: Request, wrong: Exception) -> JSONResponse:
    assert isinstance(wrong, Trouble)
    return _error(wrong, _STATUS.get(wrong.exit_code, HTTPStatus.INTERNAL_SERVER_ERROR))


async def _bad_request(request: Request, wrong: Exception) -> JSONResponse:
    assert isinstance(wrong, RequestValidationError)
    first = wrong.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return _error(usage("bad_request", f"{where}: {first['msg']}", ""), HTTPStatus.BAD_REQUEST)


async def _no_such_route(request: Request, wrong: Exception) -> JSONResponse:
    assert isinstance(wrong, HTTPException)
    trouble = Trouble("no_such_route", f"{request.method} {request.url.path}: {wrong.detail}", "See /v1/openapi.json.")
    return _error(trouble, wrong.status_code)


async def _bug(request: Request, wrong: Exception) -> JSONResponse:
    """Told as what it is. The framework raises it again afterwards, so that the log has the traceback."""
    trouble = Trouble("bug", f"this is a bug in intentcast: {type(wrong).__name__}", "The node's log says where.")
    return _error(trouble, HTTPStatus.INTERNAL_SERVER_ERROR)


class BoundedBody:
    """Refuses a body over 64 KiB before it is read, and one that is longer than it said while it is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        said = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not said.isdigit() or int(said) > MAX_BODY:
            return await _TOO_LONG(scope, receive, send)
        body = b""
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > MAX_BODY:
                return await _TOO_LONG(scope, receive, send)
            if not message.get("more_body", False):
                break
        pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Mapping[str, Any]:
            return pending.pop() if pending else await receive()

        return await self._app(scope, cast(Receive, replay), send)


_TOO_LONG: Final = _error(
    usage("body_too_long", f"a request may have {MAX_BODY} bytes", "Say it shorter."),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
)
