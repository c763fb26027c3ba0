"""What bodies and parameters of all resources share: strict types, pages, revisions.

A body takes nothing it does not know and guesses no types: ``"5"`` is no number, and a time without a zone is no time.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Header, Path, Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    Strict,
    StringConstraints,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from app.errors import RevisionError
from app.store import records

Item = TypeVar("Item", bound=BaseModel)
Record = TypeVar("Record")

_ISO = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")
_WORDS = r"[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?"  # no control characters, no blanks outside


class Strictly(BaseModel):
    """A body that a client sends."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Patch(Strictly):
    """A JSON merge patch (RFC 7396): what is left out stays, null empties what may be empty.

    The defaults of its fields are never used and do not show in the schema.
    """

    def changes(self) -> dict[str, Any]:
        """Return the fields that the client sent, under their names."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema without defaults."""
        schema = handler(core)
        for entry in handler.resolve_ref_schema(schema)["properties"].values():
            entry.pop("default", None)
        return schema


class Page(BaseModel, Generic[Item]):
    """A part of a list."""

    items: list[Item]
    next_page_token: str = Field(
        description="give it as `page_token` for the next part; empty at the end", examples=["WyJwZXJfMSJd"]
    )


def page_of(found: records.Page[Record], make: Callable[[Record], Item]) -> Page[Item]:
    """Return the answer for a page of the store."""
    return Page[Any](items=[make(record) for record in found.items], next_page_token=found.next_token or "")


def etag(revision: int) -> str:
    """Return the entity tag of a revision."""
    return f'"{revision}"'


def check_if_match(given: str | None, revision: int) -> None:
    """Compare If-Match (RFC 9110, 13.1.1) with what is there; no header lets everything pass.

    Raises:
        RevisionError: the client knows another revision.
    """
    if given is None or given.strip() == "*":
        return
    if etag(revision) not in (tag.strip() for tag in given.split(",")):
        raise RevisionError(f"It is at revision {revision} now.")


def _only_text(value: object) -> object:
    if not isinstance(value, str) or not _ISO.match(value):
        raise ValueError("write the time as 2030-12-31T23:59:59+01:00")
    return value


def _sensible(value: datetime) -> datetime:
    """Keep out the first and last years of the calendar, which do not exist in every time zone."""
    if not 1970 <= value.year < 9999:
        raise ValueError("the year must lie between 1970 and 9998")
    return value.astimezone(UTC)


def _unique(value: list[str]) -> list[str]:
    return sorted(set(value))


Moment = Annotated[
    AwareDatetime,
    Strict(False),
    BeforeValidator(_only_text, json_schema_input_type=str),
    AfterValidator(_sensible),
    Field(json_schema_extra={"format": "date-time"}),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=f"^{_WORDS}$")]
TextOrNothing = Annotated[str, StringConstraints(max_length=200, pattern=f"^({_WORDS})?$")]
Note = Annotated[str, StringConstraints(max_length=500, pattern=f"^({_WORDS})?$")]
Group = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=f"^{_WORDS}$")]
Groups = Annotated[list[Group], Field(max_length=100), AfterValidator(_unique)]

_ID = r"^[A-Za-z0-9._-]+$"
BuildingSlug = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z0-9][a-z0-9-]*$")]
Reference = Annotated[str, StringConstraints(max_length=200, pattern=_ID)]  # to a thing that a body names
BuildingId = Annotated[str, Path(max_length=64, pattern=_ID, examples=["main"])]
Id = Annotated[str, Path(max_length=200, pattern=_ID)]

PageSize = Annotated[int, Query(ge=1, le=200, description="how many at most")]
PageToken = Annotated[str | None, Query(max_length=2000, description="`next_page_token` of the part before")]
IfMatch = Annotated[str | None, Header(max_length=1000, description="ETag that the change is based on")]
PAGE = 100
