"""The tree of our errors.

    CardeaError
    ├── ArtefactError        a net's folder is missing, altered or unreadable
    ├── PhotoError           a photo cannot be enrolled (carries a problem code and reasons)
    ├── StoreError
    │   ├── NotFoundError    no such row in this building
    │   ├── ConflictError    the row exists already or was changed meanwhile
    │   └── StaleOwnerError  another worker has taken this camera over: the event must not be written
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


class StaleOwnerError(StoreError):
    """Another worker owns this camera now."""


class SetupError(CardeaError):
    """The set-up is not complete."""
