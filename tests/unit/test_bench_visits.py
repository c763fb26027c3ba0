"""How visits are counted, who comes, and one whole short run over real RTSP."""

import argparse
import io
import json
import zipfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from fixtures_store import access_event, store_at

from app.cli import bench_visits, visit_films
from app.cli.demo_clip import RESIDENT, STRANGER
from app.cli.visit_counts import LAST_WORD, Outcome, Seen, Span, attribute, group, judge, totals
from app.cli.visit_people import MIDDLE, Candidate, Refusal, Visitor, choose, draw, face_in, read_names
from app.errors import SetupError
from app.photos import read_photo
from app.types import Camera, Decision, Reason
from workers.pipeline import Nets
from workers.simulator import walkers
from workers.simulator.people import cut_out, hallway

CAMERA = Camera("cam-1", "main", "Front door", "rtsp://camera/1")
FIRST, SECOND = Span(6.0, 13.0), Span(19.0, 26.0)


@pytest.fixture(scope="module")
def nets() -> Nets:
    return Nets.open()


def seen(captured: float, decision: Decision = Decision.UNKNOWN, person: str | None = None, **changes: object) -> Seen:
    event = access_event(CAMERA, 1, decision=decision, person=person, **changes)
    return Seen(event, captured)


def granted(person: str, captured: float = 10.0) -> Seen:
    return seen(captured, Decision.GRANTED, person, reasons=(Reason.MATCHED,))


@pytest.mark.parametrize(
    ("captured", "visit"),
    [(5.6, None), (5.8, 0), (9.0, 0), (15.9, 0), (16.1, None), (18.6, None), (18.8, 1), (28.9, 1), (29.1, None)],
)
def test_an_event_belongs_to_its_own_visit_or_to_none(captured: float, visit: int | None) -> None:
    event = seen(captured)
    own, strays = attribute([FIRST, SECOND], [event])
    assert own == [[event] if number == visit else [] for number in (0, 1)]
    assert strays == ([event] if visit is None else [])


def test_visits_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match=r"19\.0 s"):
        attribute([Span(6.0, 19.0 - LAST_WORD), SECOND], [])


def test_the_films_keep_visits_apart() -> None:
    planned = visit_films.spans(30)
    attribute(planned, [])
    assert all(span.leaves - span.appears == walkers.SECONDS for span in planned)
    assert visit_films.length(30) >= planned[-1].leaves + LAST_WORD


@pytest.mark.parametrize(
    ("expected", "events", "outcome", "decisive"),
    [
        ("per-1", [], Outcome.MISSED, None),
        (None, [], Outcome.MISSED, None),
        ("per-1", [granted("per-1")], Outcome.GRANTED_RIGHT, 0),
        ("per-1", [granted("per-2")], Outcome.GRANTED_WRONG, 0),
        (None, [granted("per-1")], Outcome.GRANTED_WRONG, 0),
        ("per-1", [granted("per-1"), granted("per-2")], Outcome.GRANTED_WRONG, 1),
        ("per-1", [seen(8.0), granted("per-1")], Outcome.GRANTED_RIGHT, 1),
        ("per-1", [seen(8.0, Decision.UNDECIDED), seen(9.0)], Outcome.UNKNOWN, 1),
        (None, [seen(8.0), seen(9.0)], Outcome.UNKNOWN, 0),
        (None, [seen(8.0, Decision.UNDECIDED)], Outcome.UNDECIDED, 0),
    ],
)
def test_the_worst_name_decides_what_a_visit_was(
    expected: str | None, events: list[Seen], outcome: Outcome, decisive: int | None
) -> None:
    result = judge(expected, FIRST, events)
    assert (result.outcome, len(result.decisions)) == (outcome, len(events))
    assert result.decisive is (None if decisive is None else events[decisive])


def test_every_visit_is_counted_once() -> None:
    late = seen(10.0, Decision.UNDECIDED, reasons=(Reason.TOO_FEW_SHOTS, Reason.AMBIGUOUS))
    ends = [[granted("per-1", 8.0)], [granted("per-1", 10.0)], [granted("per-2")], [seen(9.0), late], [late], []]
    results = [judge("per-1", FIRST, events) for events in ends]
    figures = group(results)
    counts = {str(outcome): figures[str(outcome)] for outcome in Outcome}
    assert counts == {"granted_right": 2, "granted_wrong": 1, "unknown": 1, "undecided": 1, "missed": 1}
    assert figures["n"] == 6 and figures["several_events"] == {"unknown undecided": 1}
    assert figures["intervals"]["granted_right"] == {"rate": 0.3333, "of": 6, "wilson95": [0.0968, 0.7]}
    assert figures["reasons"]["undecided"] == {"too_few_shots": 1, "ambiguous": 1}
    decided = late.event.decided_at - late.event.captured_at
    assert decided == timedelta(seconds=0.123)
    assert figures["seconds_to_decision"]["granted_right"] == {"p50": 3.12, "p95": 4.02}
    assert figures["seconds_to_decision"]["undecided"] == {"p50": 4.12, "p95": 4.12}
    assert totals([])["intervals"]["missed"] == {"rate": None, "of": 0}


def archive(**pictures: bytes) -> zipfile.ZipFile:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writing:
        writing.writestr("pairs.csv", "fold,same,left,right")
        for name, picture in pictures.items():
            writing.writestr(f"images/{name}.jpg", picture)
    return zipfile.ZipFile(file)


def small(picture: bytes) -> bytes:
    """Half as large, which makes cutting out and filming quicker."""
    image = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))[1].tobytes()


def portraits(portrait_files: dict[str, bytes]) -> dict[str, bytes]:
    named = {name.replace(" ", "_"): small(picture) for name, picture in portrait_files.items()}
    return {f"{name}_{number:04}": named[name] for name in named for number in (1, 2)}


def grey() -> bytes:
    return cv2.imencode(".jpg", np.full((150, 150, 3), 120, np.uint8))[1].tobytes()


def test_who_comes_is_decided_by_the_seed() -> None:
    pictures = {f"Person_{letter}_{number:04}": b"" for letter in "ABCDEFGH" for number in (1, 2, 3)}
    names = read_names(archive(Alone_0001=b"", **pictures))
    assert list(names) == [f"Person_{letter}" for letter in "ABCDEFGH"]
    drawn = list(draw(names, 1))
    assert drawn == list(draw(names, 1)) != list(draw(names, 2))
    assert sorted(one.name for one in drawn) == list(names)
    assert all(one.enrolled != one.walking and {one.enrolled, one.walking} < set(names[one.name]) for one in drawn)


def test_each_visitor_comes_once() -> None:
    visitors = [Visitor(Candidate(str(number), "a", "b"), None) for number in range(7)]
    dealt = bench_visits.deal(visitors, 3, seed=4)
    assert [len(share) for share in dealt] == [3, 2, 2]
    assert sorted(visitor.candidate.name for share in dealt for visitor in share) == list("0123456")


def test_a_refused_photograph_is_told_and_replaced(
    sqlite_url: str, nets: Nets, portrait_files: dict[str, bytes]
) -> None:
    pictures = archive(Nobody_0001=grey(), Nobody_0002=grey(), **portraits({RESIDENT: portrait_files[RESIDENT]}))
    seed = next(seed for seed in range(99) if next(draw(read_names(pictures), seed)).name == "Nobody")
    with closing(store_at(sqlite_url)) as store:
        cast = choose(pictures, store, nets, residents=1, strangers=0, seed=seed)
        assert [visitor.candidate.name for visitor in cast.visitors] == ["Eileen_Collins"]
        assert [(refused.code, refused.reasons) for refused in cast.refused] == [("no-face", ())]
        assert isinstance(cast.refused[0], Refusal) and "Nobody" in cast.refused[0].photo
        with pytest.raises(SetupError, match="only 1 people"):
            choose(pictures, store, nets, residents=2, strangers=0, seed=seed)


def test_a_walker_comes_near_and_leaves_the_picture(nets: Nets, portrait_files: dict[str, bytes]) -> None:
    image = read_photo(small(portrait_files[STRANGER])).image
    face, found = face_in(image, nets.finder)
    assert found
    walk = walkers.Walk(80.0, 0.4, rightwards=True, light=1.0, phase=0.0, coat=(90, 60, 40))
    scene = hallway(640, 480)
    frames = list(walkers.walking(walkers.figure(cut_out(image, face), walk.coat), scene, walk, fps=10.0))
    assert len(frames) == 70
    changed = [float((cv2.absdiff(frame, scene) > 8).mean()) for frame in frames]
    assert changed[0] < 0.005 and changed[-1] < 0.005
    assert changed[40] > 1.5 * changed[10] > 0.05
    standing = nets.finder.find(frames[40])
    assert len(standing) == 1
    assert standing.boxes[0, 2] - standing.boxes[0, 0] == pytest.approx(80, rel=0.15)
    far = walkers.pose(walk, 1.0, 640, 480)
    assert far.face < 0.65 * 80 and far.x < walkers.pose(walk, 3.0, 640, 480).x


def test_a_photograph_without_a_face_is_cut_out_in_the_middle(nets: Nets) -> None:
    box, found = face_in(np.full((100, 200, 3), 120, np.uint8), nets.finder)
    assert not found
    np.testing.assert_allclose(box, np.array(MIDDLE) * [200, 100, 200, 100], rtol=1e-6)


@pytest.mark.slow
def test_the_command_lets_two_people_come(tmp_path: Path, portrait_files: dict[str, bytes]) -> None:
    faces = tmp_path / "faces.zip"
    with archive(**portraits(portrait_files)) as made, zipfile.ZipFile(faces, "w") as written:
        for name in made.namelist():
            written.writestr(name, made.read(name))
    parser = argparse.ArgumentParser()
    bench_visits.add_arguments(parser)
    words = ["--faces", str(faces), "--residents", "1", "--strangers", "1", "--cameras", "2"]
    result = bench_visits.run(parser.parse_args(words))
    assert (result["granted_right"], result["unknown"]) == (1, 1), result["otherwise"]
    assert result["residents"]["granted_right"] == result["strangers"]["unknown"] == 1
    assert result["residents"]["photographs_reach_threshold"] == 1
    assert (result["granted_wrong"], result["undecided"], result["missed"]) == (0, 0, 0)
    assert (result["templates"], result["events_of_no_visit"], result["faces_assumed"]) == (1, [], 0)
    assert 0 < result["residents"]["seconds_to_decision"]["granted_right"]["p50"] < walkers.SECONDS
    assert result["otherwise"] == [] and result["refused"] == []
    json.dumps(result)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "faces.zip").write_bytes(b"no archive")
    parser = argparse.ArgumentParser()
    bench_visits.add_arguments(parser)
    with pytest.raises(SetupError, match="ZIP"):
        bench_visits.run(parser.parse_args(["--faces", str(tmp_path / "faces.zip")]))
