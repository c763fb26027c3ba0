"""The tree of our errors.

    CardeaError
    ├── ArtefactError        a net's folder is missing, altered or unreadable
    ├── PhotoError           a photo cannot be enrolled (carries a problem code and reasons)
    ├── StoreError
    │   ├── NotFoundError    no such row in this building
    │   ├── ConflictError    the row exists already or was changed meanwhile
    │   │   └── RevisionError    it was changed meanwhile: read it again
    │   ├── CursorError      a page token was not made here
    │   ├── StaleOwnerError  another worker has taken this camera over: the event must not be written
    │   └── StoreUnavailableError  the database does not answer now: try again
    │       └── SealError    sealed bytes cannot be opened: the key is missing, or they were altered
    ├── StreamUnavailableError  the event stream does not take events now: try again
    │   └── StreamEmptyError  it is new or has lost its data: fill it first
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


class StoreError(CardeaError):
    """The store refused."""


class NotFoundError(StoreError):
    """There is no such thing."""


class ConflictError(StoreError):
    """It exists already or was changed meanwhile."""


class RevisionError(ConflictError):
    """It was changed meanwhile."""


class CursorError(StoreError):
    """The page token is not valid."""


class StoreUnavailableError(StoreError):
    """The store does not answer."""


class SealError(StoreUnavailableError):
    """Sealed bytes cannot be opened."""


class StaleOwnerError(StoreError):
    """Another worker owns this camera now."""


class StreamUnavailableError(CardeaError):
    """The event stream does not answer."""


class StreamEmptyError(StreamUnavailableError):
    """The event stream has lost its data."""


class WorkerError(CardeaError):
    """The worker cannot go on."""


class SetupError(CardeaError):
    """The set-up is not complete."""
