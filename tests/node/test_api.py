"""The local API over its real socket: shapes, refusals, events that can be resumed, and an end that is an end."""

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from node.api import serve_api
from tests.node.paper_desk import PaperDesk

SECONDS = 10.0
"""A deadline for tests that would otherwise hang; nothing here takes a tenth of it."""


@asynccontextmanager
async def served(desk: PaperDesk, path: Path) -> AsyncIterator[trio.Nursery]:
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            await nursery.start(serve_api, desk, path)
            yield nursery
            nursery.cancel_scope.cancel()


class Visitor:
    """Speaks HTTP/1.1 by hand, so that the test sees what is on the wire."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.buffer = b""

    @classmethod
    async def at(cls, path: Path) -> "Visitor":
        return cls(await trio.open_unix_socket(path))

    async def send(self, method: str, target: str, body: bytes | None = None, **headers: str) -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: intentcast"]
        if body is not None:
            lines += [f"Content-Length: {len(body)}", "Content-Type: application/json"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.stream.send_all("\r\n".join([*lines, "", ""]).encode() + (body or b""))

    async def until(self, end: bytes) -> bytes:
        while end not in self.buffer:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError(f"ended before {end!r}: {self.buffer!r}")
            self.buffer += data
        found, _, self.buffer = self.buffer.partition(end)
        return found

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        head = (await self.until(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        length = int(headers["content-length"])
        while len(self.buffer) < length:
            self.buffer += await self.stream.receive_some()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return int(head[0].split()[1]), headers, json.loads(body)

    async def event(self) -> dict[str, Any]:
        await self.until(b"data: ")
        return dict(json.loads(await self.until(b"\n\n")))


async def ask(path: Path, method: str, target: str, body: Any = None) -> tuple[int, dict[str, str], Any]:
    visitor = await Visitor.at(path)
    async with visitor.stream:
        await visitor.send(method, target, None if body is None else json.dumps(body).encode())
        return await visitor.answer()


WISH = {"action": "rent", "category": "mobility.car", "title": "4x4"}


async def test_alice_asks_reads_offers_and_accepts(tmp_path: Path) -> None:
    """The routes mirror the desk, and only what the client said reaches it: the desk knows the defaults."""
    desk = PaperDesk()
    path = tmp_path / "node.sock"
    async with served(desk, path):
        desk.answers = [{"minor": 24_000}, {"minor": 99_900, "state": "over_limit"}]
        status, _, asked = await ask(path, "POST", "/v1/ask", {"wish": WISH, "reach_wait": 1})
        assert (status, asked["reached"]) == (200, 2)
        assert desk.asked == [WISH]
        intent = asked["intent"]["id"]
        _, _, found = await ask(path, "GET", f"/v1/wishes/{intent}/offers")
        assert [offer["total"]["minor"] for offer in found["offers"]] == [24_000]
        assert found["hidden"] == 1
        _, _, everything = await ask(path, "GET", f"/v1/wishes/{intent}/offers?include_hidden=true")
        assert len(everything["offers"]) == 2
        offer = found["offers"][0]["id"]
        body = {"contact": "Alice", "wait": 1.5}
        _, _, contract = await ask(path, "POST", f"/v1/offers/{offer}/accept", body)
        assert contract["contract"]["state"] == "confirmed"
        assert desk.accepted == [{"contact": "Alice", "note": None, "options": [], "wait": 1.5}]


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code", "exit_code", "says"),
    [
        ("POST", "/v1/ask", {"wish": {"categry": "x"}}, 400, "bad_request", "2", "did you mean 'category'?"),
        ("POST", "/v1/ask", {"wish": WISH, "rech_wait": 1}, 400, "bad_request", "2", "did you mean 'reach_wait'?"),
        ("POST", "/v1/ask", {"wish": WISH | {"quantity": "2"}}, 400, "bad_request", "2", "wish.quantity"),
        ("POST", "/v1/ask", {"wish": WISH | {"quantity": True}}, 400, "bad_request", "2", "wish.quantity"),
        ("POST", "/v1/ask", {"wish": WISH | {"title": "x" * 201}}, 400, "bad_request", "2", "wish.title"),
        ("POST", "/v1/ask", {"wish": {"{0}": 1}}, 400, "bad_request", "2", "unknown field '(0)'"),
        ("POST", "/v1/ask", [], 400, "bad_request", "2", "body"),
        ("POST", "/v1/ask", {"wish": WISH, "reach_wait": -1}, 400, "bad_request", "2", "reach_wait"),
        ("GET", "/v1/events?since=soon", None, 400, "bad_request", "2", "since"),
        ("GET", "/v1/show/ffffffff", None, 404, "not_found", "3", "ffffffff"),
        ("GET", "/v1/nothing", None, 404, "no_such_route", "1", "/v1/nothing"),
        ("DELETE", "/v1/ask", None, 405, "no_such_route", "1", "DELETE"),
        ("POST", "/v1/preview", {"wish": WISH | {"category": "mobility.cra"}}, 400, "unknown_category", "2", "cra"),
        ("POST", "/v1/ask", {"wish": {"note": "x" * 70_000}}, 413, "body_too_long", "2", "65536"),
    ],
)
async def test_what_is_wrong_has_one_shape(
    tmp_path: Path, method: str, target: str, body: Any, status: int, code: str, exit_code: str, says: str
) -> None:
    """Code, message, hint, and the exit code a command should end with; nothing reaches the desk."""
    desk = PaperDesk()
    async with served(desk, tmp_path / "node.sock"):
        found, headers, answer = await ask(tmp_path / "node.sock", method, target, body)
    assert (found, answer["error"]["code"], headers["intentcast-exit"]) == (status, code, exit_code)
    assert says in answer["error"]["message"]
    assert set(answer["error"]) == {"code", "message", "hint"}
    assert desk.asked == []


async def test_a_body_that_never_says_its_length_is_bounded_too(tmp_path: Path) -> None:
    """Chunked bodies are counted while they are read."""
    path = tmp_path / "node.sock"
    async with served(PaperDesk(), path):
        mallory = await Visitor.at(path)
        async with mallory.stream:
            await mallory.send("POST", "/v1/ask", None, Transfer_Encoding="chunked", Content_Type="application/json")
            for _ in range(5):
                await mallory.stream.send_all(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
            status, _, answer = await mallory.answer()
        assert (status, answer["error"]["code"]) == (413, "body_too_long")


async def test_a_bug_is_seen_and_the_node_lives(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is no Trouble is told as a bug, logged with its traceback, and the next request is served."""
    path = tmp_path / "node.sock"
    async with served(PaperDesk(), path):
        status, headers, answer = await ask(path, "GET", "/v1/peers")
        assert (status, answer["error"]["code"], headers["intentcast-exit"]) == (500, "bug", "1")
        assert "ZeroDivisionError" in answer["error"]["message"]
        status, _, _ = await ask(path, "GET", "/v1/status")
        assert status == 200
    assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)


async def test_events_resume_where_a_watcher_left(tmp_path: Path) -> None:
    """Bob was away; with since= he misses nothing and sees nothing twice, and about= tells him of one wish only."""
    desk = PaperDesk()
    path = tmp_path / "node.sock"
    async with served(desk, path):
        desk.tell("wish.heard", intent="a")
        desk.tell("wish.heard", intent="b")
        bob = await Visitor.at(path)
        async with bob.stream:
            await bob.send("GET", "/v1/events?since=0")
            assert [(await bob.event())["id"] for _ in range(2)] == [1, 2]
        desk.tell("offer.made", intent="a")
        bob = await Visitor.at(path)
        async with bob.stream:
            await bob.send("GET", "/v1/events?since=2")
            assert await bob.event() == {"id": 3, "type": "offer.made", "at": 1_800_000_000, "intent": "a"}
            desk.tell("offer.state", intent="a")
            assert (await bob.event())["id"] == 4
        back = await Visitor.at(path)
        async with back.stream:
            await back.send("GET", "/v1/events", Last_Event_ID="3")
            assert (await back.event())["id"] == 4
        choosy = await Visitor.at(path)
        async with choosy.stream:
            await choosy.send("GET", "/v1/events?since=0&about=b")
            assert (await choosy.event())["id"] == 2


async def test_a_watcher_that_leaves_is_let_go(tmp_path: Path) -> None:
    """A closed stream ends the desk's iterator: watchers do not pile up."""
    desk = PaperDesk()
    path = tmp_path / "node.sock"
    async with served(desk, path):
        desk.tell("wish.heard")
        bob = await Visitor.at(path)
        async with bob.stream:
            await bob.send("GET", "/v1/events?since=0")
            await bob.event()
            assert desk.watchers == 1
        while desk.watchers:
            await trio.testing.wait_all_tasks_blocked(0.001)


async def test_the_end_waits_for_nobody(tmp_path: Path) -> None:
    """Open event streams, idle connections and a client that stopped reading do not hold up the node's end, and
    neither a task nor the socket file stays behind."""
    desk = PaperDesk()
    path = tmp_path / "node.sock"
    async with served(desk, path) as nursery:
        desk.tell("wish.heard", text="x" * 2_000_000)  # more than the socket's buffers hold
        idle = await Visitor.at(path)
        await idle.send("GET", "/v1/status")
        await idle.answer()
        deaf = await Visitor.at(path)
        await deaf.send("GET", "/v1/events?since=0")
        watching = await Visitor.at(path)
        await watching.send("GET", "/v1/events?since=1")
        await watching.until(b": alive")
        while desk.watchers < 2:
            await trio.testing.wait_all_tasks_blocked(0.001)
        await trio.testing.wait_all_tasks_blocked(0.01)
        started = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - started < 1
    assert not path.exists()
    assert desk.watchers == 0
    for visitor in (idle, deaf, watching):
        await visitor.stream.aclose()


async def test_the_socket_is_its_owners_alone(tmp_path: Path) -> None:
    """0600 from its first moment; a dead node's socket is replaced, another kind of file is not touched."""
    path = tmp_path / "node.sock"
    async with served(PaperDesk(), path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("precious")
    with pytest.RaisesGroup(pytest.RaisesExc(Exception, match="in the way")):
        async with served(PaperDesk(), path):
            pass
    assert path.read_text() == "precious"


async def test_the_document_describes_every_route(tmp_path: Path) -> None:
    """OpenAPI is served, and knows each route of this file."""
    path = tmp_path / "node.sock"
    async with served(PaperDesk(), path):
        status, _, document = await ask(path, "GET", "/v1/openapi.json")
    assert status == 200
    assert document["openapi"].startswith("3.")
    assert set(document["paths"]) == {
        "/v1/preview",
        "/v1/vendor/accepts/{id_text}",
        "/v1/vendor/programs",
        "/v1/vendor/stats",
        "/v1/vendor/unanswered",
        "/v1/vendor/leads",
        "/v1/vendor/hooks",
        "/v1/vendor/programs/{name}",
        "/v1/vendor/jobs/{job_id}",
        "/v1/ask",
        "/v1/wishes",
        "/v1/heard",
        "/v1/show/{id_text}",
        "/v1/withdraw/{id_text}",
        "/v1/wishes/{id_text}/offers",
        "/v1/offers",
        "/v1/heard/{id_text}/offer",
        "/v1/offers/{id_text}/accept",
        "/v1/offers/{id_text}/decline",
        "/metrics",
        "/v1/trace/{id_text}",
        "/v1/status",
        "/v1/peers",
        "/v1/invite",
        "/v1/events",
    }
    assert all(route["summary"] for methods in document["paths"].values() for route in methods.values())
