"""Evidence out of a home, whether its node runs or not: the store is read directly."""

from pathlib import Path
from typing import Any

from protocol.envelope import Realm, open_frame, read_frame
from protocol.errors import Refused
from protocol.evidence import bundle, verify
from protocol.keys import did
from protocol.kinds import KINDS
from protocol.message import Message, believe

from .store import StoredMessage, Tx, open_store_nowait
from .trouble import Exit, Trouble, not_found, refused, usage


def export_evidence(home: Path, id_text: str) -> tuple[bytes, dict[str, Any]]:
    """The evidence file for a wish, an offer or a contract of this home, and what it says. Raises Trouble."""
    database = home / "node.db"
    if not database.exists():
        raise not_found(f"{home} holds no node's store", "Name the node's home with --home.")
    prefix = id_text.strip().lower()
    if not 8 <= len(prefix) <= 64 or any(digit not in "0123456789abcdef" for digit in prefix):
        raise usage("id", f"{id_text!r} is no id", "Ids are hex; 8 or more of their first characters are enough.")
    store = open_store_nowait(database)
    try:
        messages = store.transact_nowait(_all)
    finally:
        store.close()
    found = {stored.id: stored for stored in messages if stored.id.hex().startswith(prefix)}
    if not found:
        raise not_found(f"nothing here starts with {id_text}", "`intentcast intents` and `offers` list ids.")
    if len(found) > 1:
        raise Trouble("ambiguous", f"{len(found)} things start with {id_text}", "Give more characters.", Exit.USAGE)
    wanted = next(iter(found.values()))
    kind, frames, net = _chain(wanted, messages)
    try:
        data = bundle(kind, net, frames)
    except Refused as wrong:
        raise refused("evidence", f"what is stored does not make evidence: {wrong.detail}") from None
    evidence = verify(data)
    return data, {
        "kind": evidence.kind,
        "id": evidence.id.hex(),
        "author": did(evidence.author),
        "net": evidence.net,
        "at": evidence.at,
        "frames": len(frames),
    }


def _all(tx: Tx) -> list[StoredMessage]:
    return tx.messages()


def _chain(wanted: StoredMessage, messages: list[StoredMessage]) -> tuple[str, list[bytes], str]:
    """(kind, frames, net) of the evidence for a stored message: everything its ref leads back to."""
    by_id = {stored.id: stored for stored in messages}
    message = _open(wanted)
    if wanted.kind in ("intent", "intent.update", "intent.close"):
        return "intent", [wanted.frame], message.head.net
    if wanted.kind == "confirm" and message.head.ref in by_id:
        wanted = by_id[message.head.ref]
        message = _open(wanted)
    if wanted.kind == "accept":
        confirm = next((one for one in messages if one.kind == "confirm" and _open(one).head.ref == wanted.id), None)
        if confirm is None:
            raise refused("unconfirmed", "this accept was not confirmed: there is no contract to show")
        offer = _need(by_id, message.ref)
        revision = _need(by_id, _open(offer).ref)
        return "contract", [revision.frame, offer.frame, wanted.frame, confirm.frame], message.head.net
    if wanted.kind == "offer":
        return "offer", [_need(by_id, message.ref).frame, wanted.frame], message.head.net
    raise refused("evidence", f"evidence is made of wishes, offers and contracts, not of {wanted.kind}")


def _need(by_id: dict[bytes, StoredMessage], id: bytes) -> StoredMessage:
    stored = by_id.get(id)
    if stored is None:
        raise refused("evidence", "a message it answers is not in this store any more")
    return stored


def _open(stored: StoredMessage) -> Message:
    net = str(read_frame(stored.frame).peek_unverified().get("net"))
    realm = KINDS[stored.kind].realm if stored.kind in KINDS else Realm.DIRECT
    return believe(open_frame(stored.frame, realm, net))
