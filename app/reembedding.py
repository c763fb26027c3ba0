"""Templates of another embedder for everybody, made from the kept photos, beside those that doors compare.

There is no state besides the templates: what has one is finished, each is a transaction of its own, and so a run that
was cut off is simply run again. Who is enrolled meanwhile is caught up with before the run ends.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from app.ahead import made_ahead
from app.errors import PhotoError, SealError
from app.photos import PhotoFace, find_face, kept_photo
from app.store import embedders
from app.store.embedders import KeptPhoto
from app.store.engine import Store
from app.types import Array
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder

GONE = "gone"  # erased since the run began
UNREADABLE = "photo_unreadable"  # sealed with a key that is not there, or altered


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a photo."""

    photo: KeptPhoto
    trouble: str  # empty: it has a template now; else `GONE`, `UNREADABLE` or the code of a photo's problem


def reembed(
    store: Store, finder: FaceFinder, embedder: Embedder, building: str | None, threads: int
) -> Iterator[Tried]:
    """Give every photo that has none a template of this embedder, and yield it when that is stored.

    A photo that was enrolled once is not judged anew: who would be lost by stricter rules still has a face that can be
    embedded, or the photo is told of.

    Args:
        building: None for all.

    Raises:
        StoreUnavailableError: the database does not answer; what was made is kept.
    """
    tried: set[str] = set()
    while waiting := [photo for photo in _unfinished(store, embedder, building) if photo.id not in tried]:
        tried |= {photo.id for photo in waiting}
        for photo, made in made_ahead(partial(_embed, store, finder, embedder), waiting, threads):
            yield Tried(photo, made if isinstance(made, str) else _store(store, photo, embedder, made))


def trouble(store: Store, finder: FaceFinder, photo: KeptPhoto) -> str:
    """Return what keeps a photo from having a template, empty when nothing does."""
    found = _look(store, finder, photo)
    return found if isinstance(found, str) else ""


def _unfinished(store: Store, embedder: Embedder, building: str | None) -> list[KeptPhoto]:
    with store.reading() as session:
        return embedders.unfinished(session, embedder.card.id, building)


def _embed(store: Store, finder: FaceFinder, embedder: Embedder, photo: KeptPhoto) -> Array | str:
    """Return the template, (d,) of unit length, or what is wrong with the photo."""
    found = _look(store, finder, photo)
    return found if isinstance(found, str) else embedder.embed([found.crop])[0]


def _look(store: Store, finder: FaceFinder, photo: KeptPhoto) -> PhotoFace | str:
    try:
        with store.reading() as session:
            picture = embedders.picture(session, photo)
        return GONE if picture is None else find_face(kept_photo(picture), finder)
    except SealError:
        return UNREADABLE
    except PhotoError as error:
        return error.code


def _store(store: Store, photo: KeptPhoto, embedder: Embedder, vector: Array) -> str:
    with store.session() as session:
        return "" if embedders.add_template(session, photo, embedder.card.id, vector) else GONE
