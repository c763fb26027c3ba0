"""Pages of a list: a token names the last row seen, so that rows added or removed meanwhile shift nothing."""

import base64
import json
import secrets
from collections.abc import Callable, Sequence
from typing import TypeVar

from app.errors import CursorError
from app.store.records import Item, Page

Row = TypeVar("Row")


def new_id(prefix: str) -> str:
    """Return an id that nobody can guess and that will never be given out again."""
    return f"{prefix}_{secrets.token_hex(10)}"


def encode(key: Sequence[str]) -> str:
    """Return the token of a row's sort key."""
    return base64.urlsafe_b64encode(json.dumps(list(key), ensure_ascii=False).encode()).decode().rstrip("=")


def decode(token: str, length: int) -> list[str]:
    """Return the sort key of a token.

    Raises:
        CursorError: it is not a token of a list with such a key.
    """
    try:
        key = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError) as error:
        raise CursorError("the page token was not made here") from error
    if not isinstance(key, list) or len(key) != length or not all(_storable(part) for part in key):
        raise CursorError("the page token belongs to another list")
    return key


def _storable(part: object) -> bool:
    """Whether it is text that every database takes: without NUL and halves of signs."""
    return isinstance(part, str) and "\0" not in part and not any("\ud800" <= sign <= "\udfff" for sign in part)


def page(
    rows: Sequence[Row], size: int, record: Callable[[Row], Item], key: Callable[[Row], Sequence[str]]
) -> Page[Item]:
    """Make a page of `size` from the `size + 1` rows that were asked for."""
    more = len(rows) > size
    return Page([record(row) for row in rows[:size]], encode(key(rows[size - 1])) if more else None)
