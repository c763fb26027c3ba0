"""The tree of our errors.

    CardeaError
    ├── ArtefactError        a net's folder is missing, altered or unreadable
    ├── PhotoError           a photo cannot be enrolled (carries a problem code and reasons)
    ├── SourceError          a folder, table, archive or dump of photos cannot be read (carries a problem code)
    ├── StoreError
    │   ├── NotFoundError    no such row in this building
    │   ├── ConflictError    the row exists already or was changed meanwhile
    │   │   ├── RevisionError    it was changed meanwhile: read it again
    │   │   └── DuplicatePhotoError  the same file is enrolled here already (carries the person)
    │   ├── CursorError      a page token was not made here
    │   ├── StaleOwnerError  another worker has taken this camera over: the event must not be written
    │   └── StoreUnavailableError  the database does not answer now: try again
    │       ├── SealError    sealed bytes cannot be opened: the key is missing, or they were altered
    │       └── EmbedderError  the templates are of another embedder than the one at hand
    ├── BrokerUnavailableError  the MQTT broker does not take messages now: try again
    ├── StreamUnavailableError  the event stream does not take events now: try again
    │   └── StreamEmptyError  it is new or has lost its data: fill it first
    ├── BackupError          a backup file cannot be used: it is damaged, foreign or too new
    ├── WorkerError          a worker cannot go on and must be started anew
    └── SetupError           the surroundings are wrong; the message says what to do next

The API turns each into a problem with a stable type; the docstring's first line is the problem's title.
"""


class CardeaError(Exception):
    """Something went wrong."""


class ArtefactError(CardeaError):
    """A net cannot be loaded."""


class PhotoError(CardeaError):
    """The photo cannot be used.

    `code` is the last part of the problem's type, such as ``truncated-image``; `reasons` are quality codes.
    """

    def __init__(self, code: str, detail: str, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.code = code
        self.reasons = reasons


class SourceError(CardeaError):
    """The photos to enrol cannot be read.

    `code` is the last part of the problem's type, such as ``archive-encrypted``.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class StoreError(CardeaError):
    """The store refused."""


class NotFoundError(StoreError):
    """There is no such thing."""


class ConflictError(StoreError):
    """It exists already or was changed meanwhile."""


class RevisionError(ConflictError):
    """It was changed meanwhile."""


class DuplicatePhotoError(ConflictError):
    """The photo is enrolled already.

    `person` is who has it in this building.
    """

    def __init__(self, person: str) -> None:
        super().__init__(f"person {person!r} has this photo already")
        self.person = person


class CursorError(StoreError):
    """The page token is not valid."""


class StoreUnavailableError(StoreError):
    """The store does not answer."""


class SealError(StoreUnavailableError):
    """Sealed bytes cannot be opened."""


class EmbedderError(StoreUnavailableError):
    """The templates are of another embedder."""


class StaleOwnerError(StoreError):
    """Another worker owns this camera now."""


class StreamUnavailableError(CardeaError):
    """The event stream does not answer."""


class StreamEmptyError(StreamUnavailableError):
    """The event stream has lost its data."""


class BrokerUnavailableError(CardeaError):
    """The MQTT broker does not answer."""


class BackupError(CardeaError):
    """The backup cannot be used."""


class WorkerError(CardeaError):
    """The worker cannot go on."""


class SetupError(CardeaError):
    """The set-up is not complete."""
