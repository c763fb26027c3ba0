"""Standard Webhooks 1.0 signatures: HMAC-SHA256 of ``id.timestamp.body``, one for each secret that is valid."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence

MARK = "whsec_"
BYTES = 32


def new_secret() -> str:
    """Return a secret as receivers store it: ``whsec_`` and base64 of 32 random bytes."""
    return MARK + base64.b64encode(secrets.token_bytes(BYTES)).decode()


def headers(valid: Sequence[str], message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a delivery.

    Args:
        valid: secrets, the newest first; while one replaces another the receiver may check with either.
        message: id that stays the same however often the message is sent, so that receivers can drop repetitions.
        timestamp: seconds since 1970 of this attempt; receivers refuse what is older than five minutes.
    """
    signed = f"{message}.{timestamp}.".encode() + body
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{_sign(secret, signed)}" for secret in valid),
    }


def _sign(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(MARK))
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
