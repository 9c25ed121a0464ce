"""The local HTTP API: the desk, one route per method, over a unix socket that only its owner can open."""

from .desk import Desk
from .routes import make_api
from .server import serve_api

__all__ = ["Desk", "make_api", "serve_api"]
