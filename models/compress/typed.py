"""Makes dataclasses of the tables of a TOML file: every key is known, every value has its field's type."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def built(kind: type[T], values: object, where: str) -> T:
    """Return a dataclass of a table.

    Args:
        kind: the dataclass; its ``__post_init__`` may refuse values with a ValueError.
        values: the table. A whole number is taken for a float, a list for a tuple, a table for a dataclass.
        where: what the table is called in errors, such as ``stage 1``.

    Raises:
        ValueError: it names the field.
    """
    values = table(values, where)
    assert is_dataclass(kind)
    hints = get_type_hints(kind)
    known = {one.name: one for one in fields(kind) if one.init}
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(f"{where}: {', '.join(unknown)} is unknown; there are {', '.join(known)}")
    needed = [name for name, one in known.items() if one.default is MISSING and one.default_factory is MISSING]
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"{where}: {', '.join(missing)} is missing")
    given = {name: _fitting(value, hints[name], f"{where}.{name}") for name, value in values.items()}
    try:
        return kind(**given)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def table(values: object, where: str) -> Mapping[str, Any]:
    """Return a value that is a table.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is {values!r}; it is a table")
    return values


def _fitting(value: Any, hint: Any, where: str) -> Any:
    """Return a value as a field of this type holds it."""
    if isinstance(hint, type) and is_dataclass(hint):
        return built(hint, value, where)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (list, tuple) and isinstance(value, list):
        return origin(_fitting(one, inner[0], f"{where}[{place}]") for place, one in enumerate(value))
    if hint is float and type(value) is int:
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):  # TOML has inf and nan
        raise ValueError(f"{where} is {value!r}, no finite number")
    allowed = origin or hint
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{where} is {value!r}, not {getattr(hint, '__name__', hint)}")
    return value
