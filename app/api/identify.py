"""Who is on a photo, and is it this person: asked by people, answered from the templates as they are now.

No index is kept here, so nobody who was erased can be in it: each question reads the templates anew. Nothing of the
photo is stored; that somebody asked, and whom he found, is in the audit trail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from app.access import MARGIN
from app.api.auth import Acting, needs_here
from app.api.limits import limited
from app.api.photos import NO_USABLE_FACE, UNREADABLE, Upload
from app.api.problems import documented
from app.api.schemas import BuildingId, Id
from app.api.services import Services, Serving
from app.fusion import comparisons, middles
from app.photos import MAX_BYTES, Enrolment, Photo, enrol, read_photo
from app.store import audit, buildings, galleries, people
from app.store.records import PersonRecord, Scope
from app.types import Array

router = APIRouter(prefix="/buildings/{building}", tags=["faces"])
OPERATE = [Depends(needs_here(Scope.OPERATOR)), Depends(limited("identify"))]
REFUSALS = ("not-found", "too-many-requests", "other-embedder", *UNREADABLE, *NO_USABLE_FACE)


TARGET_KEPT = (
    "false: no threshold is known that keeps the building's `target_fpir` with so many templates; the strictest known "
    "one holds, and more strangers may match"
)


class Outcome(StrEnum):
    """What a face says."""

    MATCH = "match"
    NO_MATCH = "no_match"
    AMBIGUOUS = "ambiguous"  # the second person is too close to the first


class KnownPerson(BaseModel):
    """An enrolled person and the rights that go with the face."""

    id: str
    name: str
    groups: list[str]
    valid_from: datetime | None
    valid_until: datetime | None
    valid: bool = Field(description="whether now lies between both; `decision` is about the face alone")

    @staticmethod
    def of(record: PersonRecord) -> "KnownPerson":
        """Return the answer for a record."""
        now, fields = datetime.now(UTC), record.fields
        begun = fields.valid_from is None or fields.valid_from <= now
        return KnownPerson(
            id=record.id,
            name=fields.name,
            groups=sorted(fields.groups),
            valid_from=fields.valid_from,
            valid_until=fields.valid_until,
            valid=begun and (fields.valid_until is None or now < fields.valid_until),
        )


class Candidate(BaseModel):
    """Somebody whom the face may show."""

    person: KnownPerson
    similarity: float = Field(description="cosine to the middle of the person's templates, -1 to 1")


class IdentificationRead(BaseModel):
    """Who is on the photo, as a door would judge it by this one look."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "decision": "match",
                    "candidates": [
                        {
                            "person": {
                                "id": "per_1f0c6f4b5a0d4e2b9c7a",
                                "name": "Eileen Collins",
                                "groups": ["residents"],
                                "valid_from": None,
                                "valid_until": "2030-12-31T23:00:00Z",
                                "valid": True,
                            },
                            "similarity": 0.7316,
                        }
                    ],
                    "threshold": 0.6357,
                    "target_fpir": 0.001,
                    "target_kept": True,
                    "margin": 0.4102,
                    "least_margin": 0.05,
                    "templates": 312,
                    "quality": 0.87,
                }
            ]
        }
    )

    decision: Outcome
    candidates: list[Candidate] = Field(description="best first; with `match` the first one is meant")
    threshold: float = Field(
        description="similarity from which a face matches; it rises with the people and, slower, with their photos"
    )
    target_fpir: float = Field(description="of the building: share of strangers' visits that may match anybody")
    target_kept: bool = Field(description=TARGET_KEPT)
    margin: float | None = Field(description="how far the second person is behind; null when there is none")
    least_margin: float = Field(description="less is ambiguous")
    templates: int = Field(description="that were compared")
    quality: float = Field(description="of the photo, 0 to 1")


class VerificationRead(BaseModel):
    """Whether the photo shows the person."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"same_person": True, "similarity": 0.7316, "threshold": 0.5463, "templates": 2, "quality": 0.87}
            ]
        }
    )

    same_person: bool
    similarity: float | None = Field(description="cosine to the middle of the templates; null when there are none")
    threshold: float
    templates: int = Field(description="of the person")
    quality: float = Field(description="of the photo, 0 to 1")


@dataclass(frozen=True, slots=True)
class _Found:
    """What a search has found."""

    templates: int  # of all people who were compared
    comparisons: float  # as how many templates of different people they count
    ranked: list[tuple[str, float]]  # every person and the similarity, best first
    best: list[Candidate]

    @property
    def margin(self) -> float | None:
        return self.ranked[0][1] - self.ranked[1][1] if len(self.ranked) > 1 else None

    def decide(self, threshold: float) -> Outcome:
        """Return what a door would make of it."""
        if not self.ranked or self.ranked[0][1] < threshold:
            return Outcome.NO_MATCH
        return Outcome.MATCH if self.margin is None or self.margin >= MARGIN else Outcome.AMBIGUOUS


@router.post("/identifications", dependencies=OPERATE, responses=documented(*REFUSALS))
def identify_face(
    services: Serving,
    building: BuildingId,
    photo: Upload,
    actor: Acting,
    candidates: Annotated[int, Query(ge=1, le=20, description="how many at most")] = 3,
) -> IdentificationRead:
    """Say who is on a photo. Nothing is stored but that it was asked, and whom it found."""
    with services.store.reading() as session:
        target = buildings.get(session, building).fields.target_fpir
    embedder = services.embedder()
    with services.turnstile.turn():
        face = enrol(_read(photo), services.finder, embedder, least=0)
        found = _search(services, building, face, candidates)
    threshold = embedder.threshold(found.comparisons, target)
    decision = found.decide(threshold)
    with services.store.session() as session:
        known = found.ranked[0][0] if decision is Outcome.MATCH else ""
        detail = {"decision": decision.value, "templates": found.templates}
        audit.add(session, actor, "face.identified", building=building, target=known, detail=detail)
    return IdentificationRead(
        decision=decision,
        candidates=found.best,
        threshold=round(threshold, 4),
        target_fpir=target,
        target_kept=embedder.keeps(found.comparisons, target),
        margin=None if found.margin is None else round(found.margin, 4),
        least_margin=MARGIN,
        templates=found.templates,
        quality=round(face.quality.score, 4),
    )


@router.post("/persons/{person}/verifications", dependencies=OPERATE, responses=documented(*REFUSALS))
def verify_face(services: Serving, building: BuildingId, person: Id, photo: Upload, actor: Acting) -> VerificationRead:
    """Say whether a photo shows this person. Nothing is stored but that it was asked, and what came of it."""
    with services.store.reading() as session:
        people.get(session, building, person)
        target = buildings.get(session, building).fields.target_fpir
    embedder = services.embedder()
    with services.turnstile.turn():
        face = enrol(_read(photo), services.finder, embedder, least=0)
    with services.store.reading() as session:
        templates = galleries.templates_of(session, building, person, face.embedder)
    owners = (person,) * len(templates)
    similarity = dict(_similarities(owners, templates, face.vector)).get(person)
    threshold = embedder.threshold(comparisons(owners), target)
    same = similarity is not None and similarity >= threshold
    with services.store.session() as session:
        audit.add(session, actor, "face.verified", building=building, target=person, detail={"same_person": same})
    return VerificationRead(
        same_person=same,
        similarity=None if similarity is None else round(similarity, 4),
        threshold=round(threshold, 4),
        templates=len(templates),
        quality=round(face.quality.score, 4),
    )


def _read(photo: Upload) -> Photo:
    return read_photo(photo.file.read(MAX_BYTES + 1))


def _search(services: Services, building: str, face: Enrolment, candidates: int) -> _Found:
    """Compare a face with everybody of the building, by the templates that its embedder made."""
    with services.store.reading() as session:
        known = galleries.changes_since(session, building, 0, face.embedder)
        similarities = _similarities(known.owners, known.vectors, face.vector)
        ranked = sorted(similarities, key=lambda entry: (-entry[1], entry[0]))
        best = [
            Candidate(person=KnownPerson.of(people.get(session, building, person)), similarity=round(similarity, 4))
            for person, similarity in ranked[:candidates]
        ]
    return _Found(len(known.owners), comparisons(known.owners), ranked, best)


def _similarities(owners: Sequence[str], templates: Array, vector: Array) -> list[tuple[str, float]]:
    """Return each person and the cosine to the middle of the templates (n, d), as a door compares.

    Nothing of the templates stays in this process's memory.
    """
    if not len(templates):
        return []
    persons, middle = middles(owners, templates)
    found: list[float] = (middle @ vector).clip(-1, 1).tolist()
    templates.fill(0)
    middle.fill(0)
    return list(zip(persons, found, strict=True))
