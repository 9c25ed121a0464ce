"""Telling a vendor's own systems what happens: signed requests, tried again for days, never lost in a crash.

What is told is in the queue (`hook_sends`) before anybody is told, with the id it keeps through all attempts; receivers
tell copies apart by it. Who wants to be told is in `hooks`. Addresses of the own house are refused unless the vendor
allowed them: a name in a URL may lead anywhere, so what it resolves to is checked, and just that is connected to.
"""

import ipaddress
import json
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import structlog
import trio

from ..clock import Chance, Clock
from ..events import EventLog
from ..store import HookRow, SendRow, Store, Tx
from ..trouble import not_found, refused, usage
from .signing import new_secret, sign

if TYPE_CHECKING:
    from trio_typing import TaskStatus

log = structlog.get_logger("vendor.hooks")

RETRIES: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds to the next attempt after each that failed: about three days in all, as the specification suggests."""

SEND_WITHIN: Final = 15.0
"""Seconds a receiver has to answer."""

AT_ONCE: Final = 4
"""Requests on their way to one hook: one that does not answer holds up itself alone."""

MAX_ADDRESSES: Final = 4
"""Of one name, that are tried in turn."""

MAX_HOOKS: Final = 16
MAX_WAITING: Final = 10_000
"""Requests that wait, for one hook; then its oldest ones are given up."""

KEPT: Final = 7 * 86_400
"""Seconds for which it is remembered what was told, and what came in."""

OLD_KEY: Final = 86_400
"""Seconds for which the key before signs beside the new one."""

EVENTS: Final = (
    "offer.made",
    "offer.state",
    "accept.waits",
    "contract.confirmed",
    "catalogue.broken",
    "catalogue.loaded",
)
"""What can be told. Wishes are not: there are too many, and programs hear them."""

INCOMING: Final = "incoming"
"""The hook others send to us by."""

Post = Callable[[str, dict[str, str], bytes, bool], Awaitable[int]]
"""(url, headers, body, private addresses are allowed) -> HTTP status. Raises OSError."""


class Hooks:
    def __init__(
        self,
        store: Store,
        events: EventLog,
        clock: Clock,
        chance: Chance,
        post: Post | None = None,
    ) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._chance = chance
        self.describe: Callable[[Tx, Mapping[str, Any]], dict[str, Any]] = lambda _tx, event: dict(event)
        """An event with what a receiver wants to know about it; set by the office."""
        self._post = post or post_over_http
        self._sending: dict[str, set[str]] = {}
        """Hook -> ids of the requests that are on their way to it."""
        self._turn = trio.Lock()
        self._changed = trio.Event()
        self._any = False
        """Is anybody told anything? In most homes nobody is, and then this costs nothing."""
        self.counters: Counter[str] = Counter()

    # ------------------------------------------------------------------------------------------------ who is told

    async def add(self, url: str, events: Iterable[str], allow_private: bool) -> dict[str, Any]:
        """A new hook, with its secret: it is shown here, and by rotate. Raises Trouble."""
        wanted = tuple(events) or EVENTS
        unknown = next((name for name in wanted if name not in EVENTS), None)
        if unknown is not None:
            raise usage("unknown_event", f"no event {unknown!r} is told", f"Known are {', '.join(EVENTS)}.")
        _check_url(url, allow_private)
        secret = new_secret(self._chance.bytes(32))
        now = self._clock.now()
        id = self._chance.bytes(4).hex()

        def work(tx: Tx) -> None:
            if len(tx.hooks()) >= MAX_HOOKS:
                raise refused("hooks_full", f"{MAX_HOOKS} hooks are told already", "Remove one.")
            keys, since = _keys([(secret, None)]), tx.last_event()
            tx.put_hook(HookRow(id, url, "\n".join(wanted), keys, allow_private, "on", since, now))

        await self._store.transact(work)
        self._any = True
        self._wake()
        return {"id": id, "url": url, "events": list(wanted), "secret": secret}

    async def incoming(self) -> dict[str, Any]:
        """The key for what others send to us: a new one; the one before is good for another day."""
        return await self.rotate(INCOMING)

    async def rotate(self, id: str) -> dict[str, Any]:
        """Change a key. The old one goes on signing, and is taken, for a day."""
        secret = new_secret(self._chance.bytes(32))
        now = self._clock.now()

        def work(tx: Tx) -> tuple[HookRow, bool]:
            found = next((row for row in tx.hooks() if row.id == id), None)
            if found is None and id == INCOMING:
                found = HookRow(INCOMING, "", "", "[]", False, "on", 0, now)
            if found is None:
                raise not_found(f"there is no hook {id}", "`intentcast vendor hook list` shows them.")
            old = [(key, now + OLD_KEY) for key, until in _read_keys(found.secrets) if until is None]
            changed = found.changed(secrets=_keys([(secret, None), *old]))
            tx.put_hook(changed)
            return changed, bool(old)

        row, had_one = await self._store.transact(work)
        made = {"id": row.id, "url": row.url, "secret": secret}
        return {**made, "old_until": now + OLD_KEY} if had_one else made

    async def remove(self, id: str) -> None:
        if not await self._store.transact(lambda tx: tx.drop_hook(id)):
            raise not_found(f"there is no hook {id}", "`intentcast vendor hook list` shows them.")

    async def views(self) -> list[dict[str, Any]]:
        def work(tx: Tx) -> list[dict[str, Any]]:
            return [
                {
                    "id": row.id,
                    "url": row.url,
                    "state": row.state,
                    "events": row.events.split("\n") if row.events else [],
                    "private": row.allow_private,
                    "keys": len(_read_keys(row.secrets)),
                    **tx.sends_of(row.id),
                }
                for row in tx.hooks()
            ]

        return await self._store.transact(work)

    async def once(self, id: str, work: Callable[[], Awaitable[tuple[int, str]]]) -> tuple[int, str]:
        """What came in under this id: done once; the second copy gets the answer of the first."""
        async with self._turn:  # two copies at once are still one request
            seen = await self._store.transact(lambda tx: tx.seen(id))
            if seen is not None:
                self.counters["again_incoming"] += 1
                return seen
            status, answer = await work()
            now = self._clock.now()
            await self._store.transact(lambda tx: tx.put_seen(id, status, answer, now))
            return status, answer

    def now(self) -> int:
        return self._clock.now()

    async def keys(self, id: str) -> list[str]:
        """The secrets of a hook that are good now."""
        rows = await self._store.transact(lambda tx: tx.hooks())
        return next((_valid(row, self._clock.now()) for row in rows if row.id == id), [])

    # ------------------------------------------------------------------------------------------------------ telling

    async def run(self, *, task_status: "TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled: put what happens into the queue, and send what is due."""
        self._any = bool(await self._store.transact(lambda tx: tx.hooks()))
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                changed, news = self._changed, self._events.next_change
                if not self._any:
                    await changed.wait()
                    continue
                await self._queue_news()
                due = await self._send_due(nursery)
                pause = 3600.0 if due is None else max(0.0, due - self._clock.now())
                with trio.move_on_after(pause):
                    await _either(changed, news)

    async def _send_due(self, nursery: trio.Nursery) -> int | None:
        """Start what is due, and say when the next one is."""
        now = self._clock.now()
        # Twice as many, as some may be on their way.
        found, due = await self._store.transact(lambda tx: (tx.due_sends(now, 2 * AT_ONCE), tx.next_send(now)))
        for hook, send in found:
            sending = self._sending.setdefault(hook.id, set())
            if send.id not in sending and len(sending) < AT_ONCE:
                sending.add(send.id)
                nursery.start_soon(self._send, hook, send)
        return due

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _queue_news(self) -> None:
        """Events that hooks want, as requests: with the number up to which they were looked at, in one transaction."""
        now = self._clock.now()

        def work(tx: Tx) -> int:
            queued = 0
            for hook in tx.hooks():
                if not hook.url or hook.state != "on":
                    continue
                wanted = set(hook.events.split("\n"))
                batch = tx.events_after(hook.since)
                for event in batch:
                    if event["type"] in wanted:
                        data = self.describe(tx, event)
                        body = {"type": event["type"], "timestamp": _iso(event["at"]), "data": data}
                        id = f"msg_{hook.id}_{event['id']}"
                        tx.put_send(SendRow(id, hook.id, event["type"], json.dumps(body), 0, now, "waiting", None, now))
                        queued += 1
                if batch:
                    tx.put_hook(hook.changed(since=batch[-1]["id"]))
                    self.counters["given_up_full"] += tx.drop_oldest_sends(hook.id, MAX_WAITING)
            return queued

        self.counters["queued"] += await self._store.transact(work)

    async def _send(self, hook: HookRow, send: SendRow) -> None:
        now = self._clock.now()
        body = send.body.encode()
        headers = sign(_valid(hook, now), send.id, now, body) | {"content-type": "application/json"}
        status, why = 0, ""
        try:
            with trio.fail_after(SEND_WITHIN):
                status = await self._post(hook.url, headers, body, hook.allow_private)
        except trio.TooSlowError:
            why = f"no answer within {SEND_WITHIN:.0f} s"
        except OSError as failed:
            why = str(failed) or type(failed).__name__
        try:
            await self._settle(hook, send, status, why)
        finally:
            self._sending[hook.id].discard(send.id)
            self._wake()

    async def _settle(self, hook: HookRow, send: SendRow, status: int, why: str) -> None:
        now, tries = self._clock.now(), send.tries + 1
        if 200 <= status < 300:
            changed, what = send.changed(tries=tries, state="done", why=None), "told"
        elif status == 410:
            changed, what = send.changed(tries=tries, state="failed", why="410: it wants no more"), "gone"
        elif send.tries >= len(RETRIES):
            changed, what = send.changed(tries=tries, state="failed", why=why or f"answered {status}"), "given_up"
        else:
            # A little spread, so that a receiver that comes back is not met by all at once.
            due = now + round(RETRIES[send.tries] * self._chance.choices.uniform(1.0, 1.1))
            changed, what = send.changed(tries=tries, due=due, why=why or f"answered {status}"), "again"
        self.counters[what] += 1

        def work(tx: Tx) -> None:
            tx.put_send(changed)
            if what == "gone":
                current = next((row for row in tx.hooks() if row.id == hook.id), None)
                if current is not None:
                    tx.put_hook(current.changed(state="gone"))
                tx.fail_sends(hook.id, "410: it wants no more")
            tx.drop_sends(now - KEPT)

        await self._store.transact(work)
        if what in ("gone", "given_up"):
            log.warning("a hook was not told", hook=hook.id, why=changed.why)


class Refused(OSError):
    """The address may not be asked."""


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses as a network without IPv4 writes them (RFC 6052)."""


async def post_over_http(url: str, headers: dict[str, str], body: bytes, allow_private: bool) -> int:
    """One request; redirects are not followed, and the answer is not read. Raises OSError."""
    import httpcore

    backend = _checked_backend(allow_private)
    context = ssl.create_default_context()
    async with httpcore.AsyncConnectionPool(ssl_context=context, network_backend=backend, retries=0) as pool:
        try:
            async with pool.stream("POST", url, headers=list(headers.items()), content=body) as answer:
                return int(answer.status)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, UnicodeError) as failed:
            raise OSError(str(failed) or type(failed).__name__) from None


def _checked_backend(allow_private: bool) -> Any:
    import httpcore

    class Checked(httpcore.AsyncNetworkBackend):
        """Connects to the very address that was looked at, so that a name cannot lead elsewhere the second time."""

        async def connect_tcp(self, host: str, port: int, *args: Any, **more: Any) -> Any:
            found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
            addresses = [str(entry[4][0]) for entry in found][:MAX_ADDRESSES]
            if not allow_private:
                for address in addresses:
                    check_public(address)
            for address in addresses[:-1]:
                with suppress(httpcore.ConnectError):  # a machine without IPv6, say
                    return await httpcore.TrioBackend().connect_tcp(address, port, *args, **more)
            return await httpcore.TrioBackend().connect_tcp(addresses[-1], port, *args, **more)

        async def sleep(self, seconds: float) -> None:
            await trio.sleep(seconds)

    return Checked()


def check_public(address: str) -> None:
    """Raises Refused for an address of this machine, this house, or nobody's; also when it is written as another's."""
    found: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if found in _NAT64:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF)
        found = inner or found
    if not found.is_global or found.is_multicast:
        raise Refused(f"{address} is no public address; add the hook with --allow-private if it is yours")


def _check_url(url: str, allow_private: bool) -> None:
    if not all("!" <= char <= "~" for char in url):
        raise usage("bad_url", f"{url[:80]!r} has a character no address has", "Umlauts are written so: xn--bcher-kva.")
    try:
        parts = urlsplit(url)
        host = parts.hostname
        port = parts.port
        (host or "").encode("idna")
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if not host or parts.scheme not in ("http", "https") or len(url) > 2000 or parts.username or parts.fragment:
        raise usage("bad_url", f"{url[:80]!r} is no address to tell", "Write https://example.org/hook.")
    if port is not None and not 0 < port < 65_536:
        raise usage("bad_url", f"{port} is no port", "")
    if parts.scheme == "http" and not allow_private:
        raise usage("bad_url", "without TLS anybody on the way reads it", "Use https, or --allow-private at home.")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return  # a name: looked at whenever it is told
    if not allow_private:
        try:
            check_public(host)
        except Refused as no:
            raise usage("private_address", str(no), "Only your own machines have such addresses.") from None


def _keys(keys: list[tuple[str, int | None]]) -> str:
    return json.dumps(keys)


def _read_keys(text: str) -> list[tuple[str, int | None]]:
    return [(key, until) for key, until in json.loads(text)]


def _valid(hook: HookRow, now: int) -> list[str]:
    return [key for key, until in _read_keys(hook.secrets) if until is None or now < until]


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


async def _either(*events: trio.Event) -> None:
    async with trio.open_nursery() as nursery:

        async def until(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(until, event)
