"""How strict a building is reaches its doors while they are watched."""

import pytest
from fixtures_redis import wait_until
from fixtures_watch import WatchedDoor

from app.store import buildings, events, following
from app.store.engine import Store
from app.store.records import BuildingFields, EventFilter
from app.types import AccessEvent
from app.vision.embedder import Embedder
from app.vision.faces import FaceFinder
from workers.galleries import Galleries


def thresholds(door: WatchedDoor) -> list[float | None]:
    with door.store.reading() as session:
        records = events.listing(session, "main", 5, only=EventFilter(kind="access")).items
    return [record.event.threshold for record in records if isinstance(record.event, AccessEvent)]


@pytest.mark.timeout(120)
def test_a_door_decides_as_its_building_says(watched_door: WatchedDoor, face_nets: tuple[FaceFinder, Embedder]) -> None:
    """There is one template, so that the target alone makes the threshold. The resident comes after two seconds."""
    usual, strict = (face_nets[1].threshold(1, target) for target in (1e-3, 1e-5))
    changed = watched_door.client.patch("/v1/buildings/main", json={"target_fpir": 1e-5})
    assert changed.status_code == 200 and strict > usual
    wait_until(lambda: thresholds(watched_door), seconds=40)
    assert thresholds(watched_door)[0] == pytest.approx(strict)


def test_galleries_follow_the_target_of_each_building(store: Store, face_nets: tuple[FaceFinder, Embedder]) -> None:
    galleries = Galleries(face_nets[1])
    with store.session() as session:
        present = buildings.get(session, "main")
        buildings.update(session, "main", BuildingFields("Main", target_fpir=2e-4), present.revision)
        buildings.create(session, "vault", BuildingFields("Vault", target_fpir=1e-6))
    with store.reading() as session:
        galleries.follow(session, following.marks(session, "nobody").buildings)
    assert [galleries.of(building).target_fpir for building in ("main", "vault")] == [2e-4, 1e-6]
    with store.session() as session:
        revision = buildings.get(session, "main").revision
        buildings.update(session, "main", present.fields, revision)
    with store.reading() as session:
        assert not galleries.follow(session, following.marks(session, "nobody").buildings)  # nobody has to be forgotten
    assert galleries.of("main").target_fpir == present.fields.target_fpir
