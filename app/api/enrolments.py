"""Bulk enrolment over REST: a ZIP of photos comes in whole, is judged by its directory, and becomes an operation."""

from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile

from app.api.auth import Acting, needs_here
from app.api.operations import OperationRead
from app.api.problems import ProblemError, documented, invalid
from app.api.schemas import BuildingId, Groups
from app.api.services import Serving
from app.enrolment.archives import ARCHIVE_BYTES, Archive
from app.enrolment.enroller import Submission
from app.enrolment.sources import MAX_PHOTOS, submissions
from app.errors import ConflictError, SourceError
from app.photos import MAX_BYTES
from app.store import audit, buildings, operations
from app.store.audit import Actor
from app.store.engine import Store
from app.store.operations import NewItem
from app.store.records import PersonFields, Scope

router = APIRouter(prefix="/buildings/{building}/enrolments", tags=["enrolments"])
OPERATE = [Depends(needs_here(Scope.OPERATOR))]

RECEIVING = timedelta(minutes=2)  # between two batches; an operation that waits longer for one has been given up
BATCH_BYTES = 16_000_000  # of photos written in one transaction

_ARCHIVE_CODES = (
    "archive-unreadable",
    "archive-encrypted",
    "archive-path",
    "archive-nested",
    "archive-names",
    "archive-empty",
    "archive-layout",
    "archive-too-many-files",
    "archive-too-large",
)
_FIELDS = {"archive", "groups", "accept_duplicates"}
_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["archive"],
                "additionalProperties": False,
                "properties": {
                    "archive": {"type": "string", "contentMediaType": "application/zip", "description": "the ZIP"},
                    "groups": {
                        "type": "array",
                        "items": {"type": "string", "maxLength": 64},
                        "description": "of everybody of whom the table names none; send the field once for each",
                    },
                    "accept_duplicates": {
                        "type": "string",
                        "enum": ["true", "false"],
                        "description": "enrol faces that look like somebody else's: twins",
                    },
                },
            },
            "example": {"archive": "the bytes of residents.zip", "groups": ["residents"]},
        }
    },
}


async def _form(request: Request) -> AsyncIterator[FormData]:
    """Read the form after the key was judged. Starlette keeps files in nameless temporary ones, gone when closed."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise ProblemError("unsupported-media-type", "The body of this operation is multipart/form-data.")
    async with request.form(max_files=1, max_fields=200) as form:
        yield form


@router.post(
    "",
    status_code=202,
    dependencies=OPERATE,
    responses=documented("not-found", "conflict", "too-busy", *_ARCHIVE_CODES),
    openapi_extra={"requestBody": _BODY},
    description=f"""Enrol the people of a ZIP: `NAME.jpg`, `NAME/*.jpg`, or photos with one CSV at its root.

At most {MAX_PHOTOS} photos of {MAX_BYTES // 1_000_000} MB, {ARCHIVE_BYTES // 1_000_000} MB in all. The columns of a CSV
are photo, photo2, ..., name, external_id, groups (separated by `;`), valid_from, valid_until, consent_at, consent_note
and erase_on; photos are paths in the archive. A folder around everything is taken for the root itself.

The answer names the operation that does the work: read it until its state is `done`. A person is known again by the
external id, else by the exact name, and keeps the fields that are there. Sending the same archive again enrols nobody
twice. A face that looks like another enrolled person's is refused as `duplicate` unless `accept_duplicates` is true;
doors see two people in such a face and may let in neither.""",
)
def create_enrolment(
    services: Serving,
    building: BuildingId,
    form: Annotated[FormData, Depends(_form)],
    actor: Acting,
    response: Response,
) -> OperationRead:
    """Take an archive of photos and begin to enrol."""
    archive, common, options = _understood(form)
    with services.store.reading() as session:
        buildings.get(session, building)
    with services.turnstile.turn():
        try:
            tree = Archive(archive.file)
            found = submissions(tree, common)
            if len(found) > MAX_PHOTOS:
                raise SourceError("archive-too-many-files", f"At most {MAX_PHOTOS} photos fit in one archive.")
            record = _keep(services.store, building, actor, options, found)
        except SourceError as error:
            raise ProblemError(error.code, str(error)) from error
    response.headers["Location"] = f"/v1/operations/{record.id}"
    return record


def _understood(form: FormData) -> tuple[UploadFile, PersonFields, dict[str, Any]]:
    """Return the archive, what is said of everybody, and the options."""
    unknown = sorted(set(form) - _FIELDS)
    if unknown:
        raise invalid("#", f"the form has the fields {', '.join(sorted(_FIELDS))} and no others")
    archive = form.get("archive")
    if not isinstance(archive, UploadFile) or len(form.getlist("archive")) > 1:
        raise invalid("#/archive", "one file is needed")
    accept = form.get("accept_duplicates", "false")
    if accept not in ("true", "false"):
        raise invalid("#/accept_duplicates", "true or false")
    try:
        groups = TypeAdapter(Groups).validate_python([group for group in form.getlist("groups") if group])
    except ValidationError as error:
        raise invalid("#/groups", str(error.errors()[0]["msg"])) from None
    return archive, PersonFields("", groups=frozenset(groups)), {"accept_duplicates": accept == "true"}


def _keep(store: Store, building: str, actor: Actor, options: dict[str, Any], found: list[Submission]) -> OperationRead:
    """Write the photos as items, in batches: one transaction with all of them would hold everybody else up."""
    with store.session() as session:
        operation = operations.create(session, building, actor, options, RECEIVING)
    try:
        for batch in _batches(found):
            with store.session() as session:
                operations.append(session, operation, batch, RECEIVING)
        with store.session() as session:
            record = operations.release(session, operation)
            detail = {"photos": record.total}
            audit.add(session, actor, "enrolment.started", building=building, target=operation, detail=detail)
    except (SourceError, ConflictError):
        with store.session() as session:
            operations.discard(session, operation)
        raise
    return OperationRead.of(record)


def _batches(found: Iterable[Submission]) -> Iterator[list[NewItem]]:
    batch: list[NewItem] = []
    size = 0
    for submission in found:
        photo = b"" if submission.trouble else submission.read()
        batch.append(NewItem(submission.fields, submission.file, photo, submission.trouble))
        size += len(photo)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
