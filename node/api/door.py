"""A door for a vendor's own systems: signed requests to make offers, over HTTP on loopback.

The same signatures as of what we send (`node/vendor/signing.py`), and nothing else lets anybody in: no cookie, no
token, no file. What comes twice does its work once.
"""

import json
import logging
from typing import TYPE_CHECKING, Any

import trio
from fastapi import FastAPI, Request
from fastapi.responses import Response
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import wrap_app
from pydantic import ValidationError

from node.trouble import Trouble, refused, usage
from node.vendor.hooks import INCOMING, Hooks
from node.vendor.signing import BadSignature, verify

from .desk import Desk
from .models import HookBody
from .routes import MAX_BODY, BoundedBody

if TYPE_CHECKING:
    from trio_typing import TaskStatus

MAX_CONNECTIONS = 16


def make_door(desk: Desk, hooks: Hooks) -> FastAPI:
    door = FastAPI(title="intentcast hooks", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    door.add_middleware(BoundedBody)

    @door.post("/hooks/offers")
    async def offers(request: Request) -> Response:
        body = await request.body()
        headers = {name: request.headers.get(name, "") for name in _HEADERS}
        try:
            id = verify(await hooks.keys(INCOMING), headers, body, hooks.now())
        except BadSignature as bad:
            hooks.counters["refused_incoming"] += 1
            return _answer(401, json.dumps(refused("signature", str(bad)).as_dict()))

        async def work() -> tuple[int, str]:
            try:
                said = HookBody.model_validate_json(body)
                made = await desk.make_offer(said.intent, said.offer.model_dump(exclude_unset=True))
            except ValidationError as wrong:
                first = wrong.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "body"
                return 400, json.dumps(usage("bad_request", f"{where}: {first['msg']}", "").as_dict())
            except Trouble as trouble:
                return 422, json.dumps(trouble.as_dict())
            return 200, json.dumps(made)

        return _answer(*await hooks.once(id, work))

    return door


_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def _answer(status: int, text: str) -> Response:
    return Response(text, status, media_type="application/json")


async def serve_door(
    desk: Desk, hooks: Hooks, port: int, *, task_status: "TaskStatus[int]" = trio.TASK_STATUS_IGNORED
) -> None:
    """Until cancelled, on 127.0.0.1; `started` gives the port. Raises Trouble."""
    config = HypercornConfig()
    config.errorlog = logging.getLogger("hypercorn.error")
    config.accesslog = None
    config.alpn_protocols = ["http/1.1"]
    config.include_server_header = False
    config.keep_alive_timeout = 10
    app, context = wrap_app(make_door(desk, hooks), MAX_BODY, "asgi"), WorkerContext(None)
    turns = trio.CapacityLimiter(MAX_CONNECTIONS)

    async def welcome(stream: trio.SocketStream) -> None:
        async with turns:
            state: Any = ConnectionState({})
            await TCPServer(app, config, context, state, stream)

    try:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    except OSError as wrong:
        raise Trouble("hook_port", f"no hooks on port {port}: {wrong.strerror}", "Choose another hook_port.") from None
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(welcome, listeners)
