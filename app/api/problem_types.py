"""The types of problem that an answer can name. A type is a promise: clients match on it, so none is renamed."""

from dataclasses import dataclass

from app.errors import (
    CardeaError,
    ConflictError,
    CursorError,
    DuplicatePhotoError,
    EmbedderError,
    NotFoundError,
    RevisionError,
    StoreUnavailableError,
)


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One row of the table; `advice` tells whoever reads ``/problems/{code}`` what to do."""

    code: str
    status: int
    title: str
    advice: str

    @property
    def uri(self) -> str:
        """The `type` of RFC 9457, resolvable on this server."""
        return f"/problems/{self.code}"


def _title(error: type[CardeaError]) -> str:
    return (error.__doc__ or "").partition("\n")[0]


_ROWS = (
    # The request
    ("malformed-request", 400, "The request cannot be read.", "Check the syntax of headers and body."),
    ("malformed-json", 400, "The body is not JSON.", "Send one JSON object in UTF-8."),
    (
        "unauthenticated",
        401,
        "A valid key is missing.",
        "Send `Authorization: Bearer KEY`. The key may be mistyped, expired or revoked.",
    ),
    ("scope-too-small", 403, "The key may not do this.", "Use a key whose scope includes the operation."),
    ("other-building", 403, "The key belongs to another building.", "Use a key of this building or of all buildings."),
    ("not-found", 404, _title(NotFoundError), "Check the identifiers in the path; it may have been deleted."),
    ("method-not-allowed", 405, "The method is not known here.", "See the Allow header or /openapi.json."),
    ("conflict", 409, _title(ConflictError), "Read what is there and decide again."),
    (
        "duplicate-photo",
        409,
        _title(DuplicatePhotoError),
        "`person` has this very file. Send another photo, or erase that one first.",
    ),
    (
        "no-event-picture",
        409,
        "The event has no picture.",
        "It is about a camera, or its pictures were deleted. Upload a photo instead.",
    ),
    ("precondition-failed", 412, _title(RevisionError), "Read it again and repeat the change with the new ETag."),
    ("upload-too-large", 413, "The upload is too large.", "See the limits of the operation in /openapi.json."),
    (
        "unsupported-media-type",
        415,
        "The form of the content is not supported.",
        "Send application/json, or for photos multipart/form-data with a JPEG, PNG or WebP picture.",
    ),
    ("invalid-request", 422, "The request breaks the schema.", "`errors` names each place; see /openapi.json."),
    (
        "invalid-idempotency-key",
        400,
        "The Idempotency-Key cannot be used.",
        "Send one of 1 to 255 visible ASCII characters, such as a UUID.",
    ),
    (
        "request-in-progress",
        409,
        "The first request with this Idempotency-Key still runs.",
        "Send it again after the time in Retry-After.",
    ),
    (
        "idempotency-key-reused",
        422,
        "This Idempotency-Key was used for another request.",
        "Make a new key for each new request.",
    ),
    ("too-many-requests", 429, "This was asked too often.", "Wait for the time in Retry-After."),
    ("invalid-page-token", 422, _title(CursorError), "Use `next_page_token` as it was given, with the same filters."),
    # Photos
    ("empty-upload", 422, "The upload is empty.", "Send the bytes of the photo."),
    ("truncated-image", 422, "The photo is incomplete.", "The file ends too early: upload it again."),
    ("damaged-image", 422, "The photo cannot be decoded.", "Open it in an image program and save it again."),
    ("too-many-pixels", 422, "The photo has too many pixels.", "Scale it down; 2 megapixels are plenty."),
    ("image-too-small", 422, "The photo is too small.", "Take a larger photo; enlarging this one does not help."),
    ("animated-image", 422, "The photo moves.", "Send a still picture."),
    ("unsupported-colour-mode", 422, "The photo's colours are not supported.", "Save it as RGB; CMYK is for printing."),
    ("unsupported-bit-depth", 422, "The photo's bit depth is not supported.", "Save it with 8 bits a channel."),
    ("no-face", 422, "No face was found.", "Take a photo of the face from the front, in even light."),
    ("several-faces", 422, "There is more than one face.", "Cut the photo down to the one person."),
    ("face-not-upright", 422, "The face is not upright.", "Turn the photo by 90 or 180 degrees, or mend its EXIF."),
    ("face-unusable", 422, "The face cannot be recognised well.", "`reasons` says what is wrong with it."),
    # Archives of photos
    ("archive-unreadable", 422, "The archive cannot be read.", "Send a ZIP (store or deflate) that is complete."),
    ("archive-encrypted", 422, "The archive is encrypted.", "Pack it without a password; the connection is private."),
    ("archive-path", 422, "The archive holds a forbidden path.", "Pack plain files: no links, nothing outside it."),
    ("archive-nested", 422, "There is an archive in the archive.", "Unpack it first; one ZIP of photos is read."),
    ("archive-names", 422, "The archive's file names cannot be read.", "Pack with UTF-8 names, each name once."),
    ("archive-empty", 422, "The archive holds no photos.", "Pack NAME.jpg, NAME/*.jpg, or photos with a CSV."),
    ("archive-layout", 422, "The table in the archive cannot be read.", "`detail` says what its first line must be."),
    ("archive-too-many-files", 422, "The archive has too many files.", "Split it; each part is enrolled by itself."),
    ("archive-too-large", 413, "Unpacked the archive is too large.", "Split it; each part is enrolled by itself."),
    # The server
    ("internal-error", 500, "Something went wrong on the server.", "Tell the operator the request id; it is logged."),
    ("store-unavailable", 503, _title(StoreUnavailableError), "Try again soon; a change may have been made."),
    (
        "other-embedder",
        503,
        _title(EmbedderError),
        "Try again soon: somebody may just have switched. If that does not help, `cardea db check` says what does.",
    ),
    ("too-busy", 503, "Too many of these are being worked on.", "Try again after the time in Retry-After."),
    ("not-ready", 503, "A dependency does not answer.", "`checks` names it."),
)

PROBLEM_TYPES = {row[0]: ProblemType(*row) for row in _ROWS}
