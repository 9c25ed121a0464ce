"""Talk to the running node: HTTP over its unix socket, with nothing but the standard library."""

import http.client
import json
import os
import re
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from node.trouble import Exit, Trouble, refused, usage

SLACK: Final = 30.0
"""Seconds a node may take beyond what it was asked to wait, before we say that it does not answer."""


class Client:
    """One home's node. Every method raises Trouble: what the node said, or that there is none."""

    def __init__(self, home: Path) -> None:
        self.home = home.expanduser()

    def get(self, *parts: str, **query: Any) -> dict[str, Any]:
        """GET /v1/<parts>."""
        return self._request("GET", _path(parts, query), None, SLACK)

    def text(self, path: str) -> str:
        """GET something that is no JSON."""
        return self._ask("GET", path, None, SLACK).decode("utf-8")

    def post(self, *parts: str, body: Mapping[str, Any] | None = None, wait: float = 0.0) -> dict[str, Any]:
        """POST /v1/<parts>; `wait` is how long the node itself may wait before it answers."""
        return self._request("POST", _path(parts, {}), body or {}, wait + SLACK)

    def delete(self, *parts: str) -> dict[str, Any]:
        """DELETE /v1/<parts>."""
        return self._request("DELETE", _path(parts, {}), None, SLACK)

    def events(self, since: int, deadline: float, about: str | None = None) -> Iterator[dict[str, Any]]:
        """Events after `since`, as they come; `about`: only those of one wish, offer or contract.

        Ends at `deadline` (time.monotonic()), or when the node does. Closing the iterator closes the connection.
        """
        connection = self._connect(SLACK)
        with closing(connection), suppress(OSError, http.client.HTTPException):  # a time-out is an OSError
            connection.request("GET", _path(("events",), {"since": since, "about": about}))
            line = connection.sock
            answer = connection.getresponse()
            if answer.status != 200:
                raise _trouble(answer, answer.read())
            while (left := deadline - time.monotonic()) > 0:
                line.settimeout(left)
                text = answer.readline()
                if not text:
                    return
                if text.startswith(b"data: "):
                    yield json.loads(text[6:])

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float) -> dict[str, Any]:
        found = json.loads(self._ask(method, path, body, timeout))
        assert isinstance(found, dict)
        return found

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, timeout: float) -> bytes:
        connection = self._connect(timeout)
        with closing(connection):
            headers = {"Connection": "close"}
            data = None
            if body is not None:
                headers["Content-Type"] = "application/json"
                data = _encode(body)
            try:
                connection.request(method, path, data, headers)
                answer = connection.getresponse()
                text = answer.read()
            except TimeoutError:
                raise Trouble("no_answer", f"the node did not answer within {timeout:.0f} s", "See its log.") from None
            except (OSError, http.client.HTTPException):
                raise Trouble(
                    "node_stopped",
                    "the node ended before it answered",
                    "Start it again (intentcast up), and look with `intentcast status` what it did.",
                    Exit.NOT_RUNNING,
                ) from None
            if answer.status != 200:
                raise _trouble(answer, text)
            return text

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        connection = _UnixConnection(self.socket_path(), timeout)
        try:
            connection.connect()
        except OSError:
            raise self._not_running(f"the node of {self.home} does not answer at its socket") from None
        return connection

    def socket_path(self) -> str:
        """Where the running node's note says it listens."""
        try:
            owner = self.home.stat().st_uid
        except FileNotFoundError:
            raise self._not_running(f"there is no home at {self.home}") from None
        except OSError as wrong:
            raise refused("home_unreadable", f"{self.home}: {wrong.strerror}", _OTHER) from None
        if owner != os.geteuid():
            raise refused("home_of_another", f"{self.home} belongs to another user ({owner})", _OTHER)
        try:
            path = json.loads((self.home / "running.json").read_bytes())["socket"]
            if stat.S_ISSOCK(os.stat(path).st_mode):
                return str(path)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise self._not_running(f"no node runs from {self.home}")

    def _not_running(self, message: str) -> Trouble:
        home = "" if "INTENTCAST_HOME" in os.environ else f" --home {self.home}"
        return Trouble("not_running", message, f"Start it in another terminal: intentcast up{home}", Exit.NOT_RUNNING)


_OTHER: Final = "Name a home of your own with --home or INTENTCAST_HOME."


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("intentcast", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise


def check_id(text: str, what: str) -> str:
    """An id or the start of one, as people paste it. Raises Trouble."""
    plain = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{8,64}", plain):
        raise usage(
            "bad_id", f"{text!r} is no id of {what}", "An id is 64 of 0-9 and a-f; its first 8 or more will do."
        )
    return plain


def _path(parts: tuple[str, ...], query: Mapping[str, Any]) -> str:
    path = "/v1/" + "/".join(quote(part, safe="") for part in parts)
    said = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(said)}" if said else path


def _encode(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, ensure_ascii=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise usage("bad_text", "something you typed is not UTF-8 text", "Check your terminal's encoding.") from None


def _trouble(answer: http.client.HTTPResponse, text: bytes) -> Trouble:
    said: Mapping[str, Any] = {}
    with suppress(ValueError, TypeError, KeyError):
        said = json.loads(text)["error"]
    code = answer.headers.get("Intentcast-Exit", "1")
    exit_code = Exit(int(code)) if code.isdigit() and int(code) in Exit._value2member_map_ else Exit.FAILURE
    message = str(said.get("message", f"the node answered {answer.status}"))
    return Trouble(str(said.get("code", "failure")), message, str(said.get("hint", "")), exit_code)
