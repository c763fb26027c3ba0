"""What is kept about a person's consent and retention, who may be found by it, and what the audit trail says."""

import httpx2
from fixtures_api import ON_BOTH, Api, add_person, add_photo, problem_of

from app.store import audit

PERSONS = "/v1/buildings/main/persons"


def test_consent_and_retention_come_back_and_can_be_emptied(operator: httpx2.Client) -> None:
    said = {"consent_at": "2026-01-01T09:00:00+01:00", "consent_note": "lease", "erase_on": "2090-01-01T00:00:00Z"}
    made = operator.post(PERSONS, json={"name": "Zoë"} | said).json()
    assert (made["consent_at"], made["consent_note"]) == ("2026-01-01T08:00:00Z", "lease")
    assert made["erase_on"] == "2090-01-01T00:00:00Z"
    path = f"{PERSONS}/{made['id']}"
    changed = operator.patch(path, json={"consent_at": None, "erase_on": None, "consent_note": None}).json()
    assert (changed["consent_at"], changed["consent_note"], changed["erase_on"]) == (None, None, None)


def test_a_slip_of_the_year_erases_nobody(operator: httpx2.Client) -> None:
    past = {"erase_on": "2020-01-01T00:00:00Z"}
    path = f"{PERSONS}/{add_person(operator)}"
    for answer in (operator.post(PERSONS, json={"name": "Zoë"} | past), operator.patch(path, json=past)):
        assert problem_of(answer) == (422, "invalid-request")
        assert answer.json()["errors"][0]["pointer"] == "#/erase_on"


@ON_BOTH
def test_persons_are_found_by_what_is_missing_or_ending(
    api: Api, operator: httpx2.Client, portrait_files: dict[str, bytes]
) -> None:
    ada = add_person(operator, "Ada", groups=["staff"], valid_until="2090-01-01T00:00:00Z")
    add_person(operator, "Ben", groups=["residents", "staff"])
    assert add_photo(operator, ada, portrait_files["Eileen Collins"]).status_code == 201

    def found(**filters: str) -> list[str]:
        return [person["name"] for person in operator.get(PERSONS, params=filters).json()["items"]]

    assert found(group="staff") == ["Ada", "Ben"] and found(group="residents") == ["Ben"] and found(group="s") == []
    assert found(without_photos="true") == ["Ben"] and found(without_photos="false") == ["Ada", "Ben"]
    assert found(ending_before="2090-01-02T00:00:00Z") == ["Ada"] and found(ending_before="2089-01-01T00:00:00Z") == []


def test_the_trail_names_what_changed_but_never_to_what(api: Api, operator: httpx2.Client) -> None:
    person = add_person(operator, "Zoë Ågren", external_id="flat-12")
    path = f"{PERSONS}/{person}"
    operator.patch(path, json={"name": "Zoë Berg", "groups": [], "external_id": "flat-13"})
    operator.patch(path, json={"name": "Zoë Berg"})  # which changes nothing
    operator.delete(path)
    with api.services.store.reading() as session:
        trail = audit.listing(session, 10, None, "main", "person.").items
    assert [entry.action for entry in reversed(trail)] == ["person.created", "person.updated", "person.erased"]
    assert all(entry.target == person and entry.actor.kind == "key" for entry in trail)
    assert trail[1].detail == {"fields": ["external_id", "name"]}
    assert not any(word in str(trail) for word in ("Zoë", "Ågren", "Berg", "flat"))
