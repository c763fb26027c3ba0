"""What is remarkable about a photo that was enrolled: told in the answer, for whoever sent it to decide."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.api.services import Services
from app.enrolment.notices import Likeness, Limits, Notice, compared, notices
from app.photos import Enrolment
from app.store import buildings, galleries
from app.vision.embedder import Embedder

ADVICE = {
    Notice.DUPLICATE_FACE: "Somebody else is enrolled with this face: is it the same person twice?",
    Notice.LOOKS_LIKE: "The face looks like somebody else's here: a door may let in neither.",
    Notice.NOT_THE_SAME_PERSON: "The person's other photos show somebody else: erase what is wrong.",
    Notice.UNLIKE_OWN_PHOTOS: "It is unlike the person's other photos: does it show somebody else?",
    Notice.NEAR_DUPLICATE: "It is nearly a photo that is there already: one of another day helps more.",
    Notice.LOW_QUALITY: "A poor photo: doors miss about every second look. Take a sharper, larger one.",
}
EXAMPLE: dict[str, JsonValue] = {
    "code": "looks_like",
    "advice": ADVICE[Notice.LOOKS_LIKE],
    "similarity": 0.6411,
    "person": "per_7e2d4c9b1a3f5e6d8c0b",
    "photo": None,
}
_OF_OTHERS = frozenset({Notice.DUPLICATE_FACE, Notice.LOOKS_LIKE})


class NoticeRead(BaseModel):
    """One thing that is remarkable. The photo is enrolled all the same."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    code: Notice
    advice: str = Field(description="for people")
    similarity: float | None = Field(
        description="to the person or photo that is named, or to the person's nearest photo"
    )
    person: str | None = Field(description="id of somebody else, of duplicate_face and looks_like")
    photo: str | None = Field(description="id of the person's photo that is nearly the same, of near_duplicate")

    @staticmethod
    def of(notice: Notice, likeness: Likeness) -> "NoticeRead":
        """Return the answer for a notice."""
        similarity = likeness.other if notice in _OF_OTHERS else likeness.own
        told = None if similarity is None or notice is Notice.LOW_QUALITY else round(similarity, 4)
        return NoticeRead(
            code=notice,
            advice=ADVICE[notice],
            similarity=told,
            person=likeness.other_person if notice in _OF_OTHERS else None,
            photo=likeness.own_photo if notice is Notice.NEAR_DUPLICATE else None,
        )


Notices = Annotated[list[NoticeRead], Field(description="what is remarkable, most serious first; often nothing")]


def noticed(
    services: Services, building: str, person: str | None, face: Enrolment, embedder: Embedder
) -> list[NoticeRead]:
    """Compare a face with the templates as they are before it is enrolled. Nothing of them stays in memory.

    Args:
        services: of the process.
        building: whose templates are compared.
        person: id of whom the photo is meant for; None for somebody new.
        face: what was found on the photo.
        embedder: that made its vector.
    """
    with services.store.reading() as session:
        target = buildings.get(session, building).fields.target_fpir
        enrolled = galleries.enrolled(session, building, face.embedder)
    likeness = compared(face.vector, person, enrolled)
    enrolled.vectors.fill(0)
    limits = Limits.of(embedder, enrolled.persons, target)
    return [NoticeRead.of(notice, likeness) for notice in notices(face.quality.score, likeness, limits)]
