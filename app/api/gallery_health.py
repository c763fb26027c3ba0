"""How well a building's doors can tell its people apart, and what would help.

Nothing is kept for it: each question reads the templates anew, compares them and overwrites them.
"""

from collections import Counter
from typing import Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.api.auth import needs_here
from app.api.identify import TARGET_KEPT
from app.api.problems import documented
from app.api.schemas import BuildingId
from app.api.services import Serving
from app.fusion import comparisons
from app.gallery_health import GalleryHealth, Missed, Weakness, examine
from app.store import buildings, galleries, people
from app.store.records import Scope

router = APIRouter(prefix="/buildings/{building}/gallery-health", tags=["faces"])
MOST = 100  # entries of each list; there is a total beside it

_EILEEN: JsonValue = {"id": "per_1f0c6f4b5a0d4e2b9c7a", "name": "Eileen Collins"}
_GRACE: JsonValue = {"id": "per_8d2b7e6f5c4a3b2d1e0f", "name": "Grace Hopper"}


class PersonNamed(BaseModel):
    """A person of this building."""

    id: str
    name: str


class LookAlikesRead(BaseModel):
    """Two people whose nearest photos are about as alike as a match."""

    first: PersonNamed
    second: PersonNamed
    similarity: float
    confused: bool = Field(description="it reaches the threshold: a door may see both in one face and let in neither")


class WeakTemplateRead(BaseModel):
    """A photo by which its person is recognised badly."""

    person: PersonNamed
    photo: str
    quality: float = Field(description="0 to 1")
    likeness: float | None = Field(description="similarity to the person's nearest other photo; null: there is none")
    reasons: list[Weakness]


class MissedRead(BaseModel):
    """How often a photo of somebody with several would not be recognised by the others, in one look."""

    share: float
    low: float = Field(description="of the 95 % interval, as if each person were one answer")
    high: float
    photos: int = Field(description="that were looked up")
    persons: int = Field(description="whose they are")


class AgainRead(BaseModel):
    """Somebody who should be photographed again."""

    person: PersonNamed
    reasons: list[Weakness]


class GalleryHealthRead(BaseModel):
    """How well a building's doors can tell its people apart. Lists end after 100; their totals stand beside them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "embedder": "embedder-taught-mobilefacenet@93edc28f9f51",
                    "persons": 297,
                    "persons_unknown": 1,
                    "persons_with_one_photo": 281,
                    "templates": 312,
                    "target_fpir": 0.001,
                    "target_kept": True,
                    "templates_known": 100000,
                    "threshold": 0.6357,
                    "expected_fpir": 0.00099,
                    "expected_fnir": {"share": 0.129, "low": 0.036, "high": 0.368, "photos": 31, "persons": 16},
                    "expected_fnir_unknown": None,
                    "look_alikes": [{"first": _EILEEN, "second": _GRACE, "similarity": 0.6411, "confused": True}],
                    "look_alikes_total": 1,
                    "weak_templates": [
                        {
                            "person": _GRACE,
                            "photo": "pho_5d0f6c1b9a3e4d2b8c7a",
                            "quality": 0.61,
                            "likeness": None,
                            "reasons": ["low_quality", "only_one_photo"],
                        }
                    ],
                    "weak_templates_total": 1,
                    "photograph_again": [
                        {"person": _GRACE, "reasons": ["low_quality", "looks_like_somebody", "only_one_photo"]},
                        {"person": _EILEEN, "reasons": ["looks_like_somebody"]},
                    ],
                    "photograph_again_total": 2,
                }
            ]
        }
    )

    embedder: str = Field(description="whose templates are compared")
    persons: int = Field(description="with a template")
    persons_unknown: int = Field(description="without one: nobody recognises them")
    persons_with_one_photo: int = Field(description="two or three of different days are recognised more surely")
    templates: int
    target_fpir: float = Field(description="of the building: share of strangers' visits that may match anybody")
    target_kept: bool = Field(description=TARGET_KEPT)
    templates_known: int = Field(description="up to so many templates `target_fpir` is kept")
    threshold: float = Field(description="similarity from which a face matches now")
    expected_fpir: float = Field(
        description="share of strangers' looks that match anybody at the threshold, from what was measured of the "
        "embedder; less than `target_fpir` where the threshold is stricter than that asks for"
    )
    expected_fnir: MissedRead | None = Field(
        description="from the photos of people with several. A camera's pictures are worse than photos, and a visit "
        "gives several looks"
    )
    expected_fnir_unknown: str | None = Field(description="`no_second_photos`: nobody has two photos; else null")
    look_alikes: list[LookAlikesRead] = Field(description="most alike first, down to .05 below the threshold")
    look_alikes_total: int
    weak_templates: list[WeakTemplateRead] = Field(description="lowest quality first")
    weak_templates_total: int
    photograph_again: list[AgainRead] = Field(description="most urgent first")
    photograph_again_total: int


@router.get(
    "",
    dependencies=[Depends(needs_here(Scope.OPERATOR))],
    responses=documented("not-found", "too-busy", "other-embedder"),
)
def get_gallery_health(services: Serving, building: BuildingId) -> GalleryHealthRead:
    """Say how well the people of a building can be told apart: every template is compared with every other one."""
    embedder = services.embedder()
    with services.overviews.turn(), services.store.reading() as session:
        target = buildings.get(session, building).fields.target_fpir
        enrolled = galleries.enrolled(session, building, embedder.card.id)
        unknown = galleries.unknown(session, building, embedder.card.id)
        templates, compared = len(enrolled.persons), comparisons(enrolled.persons)
        threshold = embedder.threshold(compared, target)
        health = examine(enrolled, unknown, threshold)
        enrolled.vectors.fill(0)
        names = people.names(session, building, _shown(health))
    counts = list(Counter(enrolled.persons).values())
    return GalleryHealthRead(
        embedder=embedder.card.id,
        persons=len(counts),
        persons_unknown=len(unknown),
        persons_with_one_photo=counts.count(1),
        templates=templates,
        target_fpir=target,
        target_kept=embedder.keeps(compared, target),
        templates_known=embedder.most_templates(target),
        threshold=round(threshold, 4),
        expected_fpir=float(f"{embedder.expected_fpir(compared, threshold):.3g}"),
        **_told(health, names),
    )


def _shown(health: GalleryHealth) -> set[str]:
    """Return whose names the answer needs."""
    pairs = ((pair.first, pair.second) for pair in health.look_alikes[:MOST])
    again = list(health.again)[:MOST]
    return {*(person for pair in pairs for person in pair), *(one.person for one in health.weak[:MOST]), *again}


def _told(health: GalleryHealth, names: dict[str, str]) -> dict[str, Any]:
    def named(person: str) -> PersonNamed:
        return PersonNamed(id=person, name=names[person])

    return {
        "expected_fnir": None if health.missed is None else _missed(health.missed),
        "expected_fnir_unknown": "no_second_photos" if health.missed is None else None,
        "look_alikes": [
            LookAlikesRead(
                first=named(pair.first),
                second=named(pair.second),
                similarity=round(pair.similarity, 4),
                confused=pair.confused,
            )
            for pair in health.look_alikes[:MOST]
        ],
        "look_alikes_total": len(health.look_alikes),
        "weak_templates": [
            WeakTemplateRead(
                person=named(one.person),
                photo=one.photo,
                quality=round(one.quality, 4),
                likeness=None if one.likeness is None else round(one.likeness, 4),
                reasons=list(one.reasons),
            )
            for one in health.weak[:MOST]
        ],
        "weak_templates_total": len(health.weak),
        "photograph_again": [
            AgainRead(person=named(person), reasons=list(reasons))
            for person, reasons in list(health.again.items())[:MOST]
        ],
        "photograph_again_total": len(health.again),
    }


def _missed(missed: Missed) -> MissedRead:
    return MissedRead(
        share=round(missed.share, 4),
        low=round(missed.low, 4),
        high=round(missed.high, 4),
        photos=missed.photos,
        persons=missed.persons,
    )
