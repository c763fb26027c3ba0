"""What a client of the API knows and a generator of requests does not; see `tests/integration/test_api_schema.py`."""

import secrets
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give each request an idempotency key of its own.

    With one used before the server repeats its first answer, as it should, though what that one made may be gone.
    """
    if "Idempotency-Key" in (case.headers or {}):
        case.headers["Idempotency-Key"] = secrets.token_hex(8)
