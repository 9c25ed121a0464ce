"""How wishes, offers and contracts look to people and programs: plain dicts, ready for JSON.

The shapes are documented in cli/README.md; more keys may come, none goes. Ids are lower-case hex, keys did:key,
instants seconds UTC, money {minor, currency}.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from protocol.deal import Accept, Confirm
from protocol.exchange import Talk
from protocol.intent import Intent
from protocol.keys import did
from protocol.message import Message
from protocol.offer import Offer
from protocol.terms import Money

from .threads import LiveThread
from .wish import Judged, Wish

View = dict[str, Any]


def plain(value: Any) -> Any:
    """Any body as JSON-ready data: bytes as hex, nothing for what is absent."""
    if is_dataclass(value):
        found = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: plain(item) for name, item in found.items() if item is not None and item != ()}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def intent_view(message: Message, state: str) -> View:
    """A revision of a wish. `id` names the wish for good; `revision` this text of it."""
    assert isinstance(message.body, Intent)
    body = plain(message.body)
    body.pop("box")
    return {
        "id": message.root.hex(),
        "revision": message.id.hex(),
        "state": state,
        "author": did(message.author),
        "at": message.head.at,
        "exp": message.head.exp,
        "net": message.head.net,
        **body,
    }


def wish_view(wish: Wish) -> View:
    view = intent_view(wish.revision, wish.state.lower())
    if wish.limit is not None:
        view["private_limit"] = plain(wish.limit)
    return view


def offer_view(live: LiveThread, talk: Talk) -> View:
    """An offer as its vendor wrote it."""
    offer = talk.offer.body
    assert isinstance(offer, Offer)
    view = plain(offer)
    view.update(
        id=talk.offer.id.hex(),
        intent=live.root.hex(),
        revision=talk.offer.ref.hex(),
        state=talk.state.value.lower(),
        vendor={"key": did(live.thread.vendor), "name": offer.vendor.name},
        at=talk.offer.head.at,
        valid_until=talk.offer.head.exp,
        meets=list(offer.meets),
        deviates=plain(offer.deviates),
    )
    if talk.accept is not None:
        view["contract"] = talk.accept.id.hex()
    return {**view, **live.why_ended(talk)}


def judged_view(judged: Judged) -> View:
    """An offer as its receiver sees it: meets and deviates are this node's own findings, not the vendor's word."""
    view = offer_view(judged.live, judged.talk)
    said = {deviation.name for deviation in judged.offer.deviates}
    view.update(
        state=judged.state,
        meets=list(judged.match.meets),
        deviates=plain(judged.match.deviates),
        unmet=[str(unmet) for unmet in judged.match.unmet],
        undeclared=sorted(deviation.name for deviation in judged.match.deviates if deviation.name not in said),
        comparable=judged.comparable,
    )
    return view


def delivery_view(step: Mapping[str, Any]) -> View:
    """How far a message of ours came, with plain words for it."""
    mailboxes, reason = step["mailboxes"], step["reason"]
    words = {
        "QUEUED": "waits to be sent",
        "CONNECTING": "looking for a way to the other party",
        "SENT": "sent, not acknowledged yet",
        "STORED": f"left at {mailboxes} mailbox{'es' if mailboxes > 1 else ''}, not fetched yet",
        "FETCHED": "fetched from a mailbox, not acknowledged yet",
        "ACKED": f"arrived, without effect: {reason}" if reason else "arrived",
        "FAILED": f"never acknowledged: {reason or 'expired'}",
    }
    return {**step, "words": words[step["state"]]}


def said_to(live: LiveThread, step: View) -> View:
    """Whom a message of ours to a vendor went to, and which of their offers it is about."""
    talks = list(live.thread.talks.values())
    of_ours = {said.id.hex(): talk for talk in talks for said in (talk.accept, talk.refusal) if said is not None}
    offer = of_ours.get(step["message"], talks[-1]).offer
    assert isinstance(offer.body, Offer)
    return {"offer": offer.id.hex(), "vendor": offer.body.vendor.name}


def contract_view(live: LiveThread, talk: Talk, delivery: str | None = None) -> View:
    """The deal both sides hold. `state`: accepted, confirmed, rejected or lapsed."""
    assert talk.accept is not None
    assert isinstance(talk.accept.body, Accept)
    offer = talk.offer.body
    assert isinstance(offer, Offer)
    view: View = {
        "id": talk.accept.id.hex(),
        "state": talk.state.value.lower(),
        "intent": live.root.hex(),
        "revision": talk.offer.ref.hex(),
        "offer": talk.offer.id.hex(),
        "requester": did(live.thread.requester),
        "vendor": did(live.thread.vendor),
        "vendor_name": offer.vendor.name,
        "total": plain(offer.total),
        "requester_contact": talk.accept.body.contact,
        "answer_by": talk.accept.head.exp,
        "valid_until": talk.offer.head.exp,
    }
    chosen = [option for option in offer.options if option.name in talk.accept.body.options]
    if chosen:
        view["options"] = plain(chosen)
        view["total_with_options"] = plain(
            Money(offer.total.minor + sum(option.amount for option in chosen), offer.total.currency)
        )
    if talk.answer is not None:
        if isinstance(talk.answer.body, Confirm):
            view["vendor_contact"] = talk.answer.body.contact
            view["reference"] = talk.answer.body.reference
        else:
            view["reason"] = plain(talk.answer.body).get("reason")
        # A vendor's confirm counts once the person holds it: until its ack is here, say so.
        view["acknowledged"] = live.end.is_box or talk.answer.id in live.thread.acks
    if delivery is not None:
        view["delivery"] = delivery
    return view
