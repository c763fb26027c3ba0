"""What a client of the API knows and a generator of requests does not; see `tests/integration/test_api_schema.py`."""

import secrets
from typing import Any

import schemathesis


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Give each request an idempotency key of its own.

    With one used before the server repeats its first answer, as it should, though what that one made may be gone.
    Requests that shall be wrong stay as they are: schemathesis takes an edited one for right and puts the key of the
    API back that it had left out.
    """
    if "Idempotency-Key" in (case.headers or {}) and not case.meta.generation.mode.is_negative:
        case.headers["Idempotency-Key"] = secrets.token_hex(8)
