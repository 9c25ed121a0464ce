"""Signatures of webhooks, after the Standard Webhooks specification 1.0.0 (standardwebhooks.com): HMAC-SHA256 over
`id.timestamp.body`, base64, in `webhook-signature: v1,...`; several while a key is being changed.

Pure: the time is an argument. The tests check it against the reference library.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Final

PREFIX: Final = "whsec_"
TOLERANCE: Final = 5 * 60
"""Seconds a request may be old, or early: what an eavesdropper has it for."""

MAX_ID: Final = 64
MAX_SIGNATURES: Final = 16


class BadSignature(ValueError):
    """Not signed by whom we know, not now, or not at all."""


def new_secret(random: bytes) -> str:
    """The text of a secret; 24 to 64 random bytes, as the specification asks."""
    assert 24 <= len(random) <= 64
    return PREFIX + base64.b64encode(random).decode()


def sign(secrets: Iterable[str], id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers of a request, signed with each of the secrets."""
    signed = " ".join(f"v1,{base64.b64encode(_mac(secret, id, at, body)).decode()}" for secret in secrets)
    return {"webhook-id": id, "webhook-timestamp": str(at), "webhook-signature": signed}


def verify(secrets: Iterable[str], headers: Mapping[str, str], body: bytes, now: int) -> str:
    """The id of a request that one of the secrets signed just now. Raises BadSignature."""
    id, at, signed = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not id or len(id) > MAX_ID or not id.isascii() or not id.isprintable() or "." in id:
        raise BadSignature("webhook-id is missing, or not 1 to 64 plain characters without a dot")
    if not at.isascii() or not at.isdigit() or len(at) > 12:
        raise BadSignature("webhook-timestamp is no number of seconds")
    if abs(now - int(at)) > TOLERANCE:
        raise BadSignature("webhook-timestamp is over five minutes away: is the clock right?")
    parts = signed.split(" ")
    if len(parts) > MAX_SIGNATURES:
        raise BadSignature(f"over {MAX_SIGNATURES} signatures")
    found = [_decoded(part[3:]) for part in parts if part.startswith("v1,")]
    for secret in secrets:
        wanted = _mac(secret, id, int(at), body)
        if any(hmac.compare_digest(wanted, one) for one in found):
            return id
    raise BadSignature("no signature fits: another secret, or the body was changed on the way")


def _mac(secret: str, id: str, at: int, body: bytes) -> bytes:
    return hmac.digest(_decoded(secret.removeprefix(PREFIX)), f"{id}.{at}.".encode() + body, hashlib.sha256)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
