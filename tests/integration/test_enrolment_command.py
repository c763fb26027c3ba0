"""`cardea enrol` as operators run it: exit statuses, the report, Ctrl-C, a sudden death, and a CompreFace dump."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fixtures_enrolment import COLLINS, HOPPER, another
from fixtures_store import PostgresServer, store_at

from app.__main__ import main
from app.store import audit, people
from app.store.audit import AuditRecord
from app.store.engine import Store

COMMAND = (sys.executable, "-m", "app", "enrol")


@pytest.fixture(autouse=True)
def settings(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command works on the store of the settings."""
    monkeypatch.setenv("CARDEA_DATABASE_URL", sqlite_url)


@pytest.fixture
def opened(sqlite_url: str) -> Iterator[Store]:
    with closing(store_at(sqlite_url)) as store:
        yield store


def persons(store: Store) -> list[tuple[str, int, list[str]]]:
    with store.reading() as session:
        found = people.listing(session, "main", 100).items
    return [(record.fields.name, record.photos, sorted(record.fields.groups)) for record in found]


def trail(store: Store) -> list[AuditRecord]:
    with store.reading() as session:
        return audit.listing(session, 200).items


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Exit status, what came of each photo, and the summary."""
    status = main(["enrol", *map(str, words), "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return status, lines[:-1], lines[-1]


@pytest.fixture
def folder(tmp_path: Path, faces: dict[str, bytes]) -> Path:
    """Three photos of one person and one of another."""
    root = tmp_path / "people"
    (root / COLLINS).mkdir(parents=True)
    for number in range(3):
        (root / COLLINS / f"{number}.jpg").write_bytes(another(faces[COLLINS], number))
    (root / f"{HOPPER}.jpg").write_bytes(faces[HOPPER])
    return root


def test_a_folder_is_enrolled_and_a_second_run_changes_nothing(
    capsys: pytest.CaptureFixture[str], folder: Path, opened: Store, tmp_path: Path
) -> None:
    report = tmp_path / "report.csv"
    status, planned, summary = run(capsys, folder, "--groups", "residents,staff", "--dry-run")
    assert status == 0 and summary["dry_run"] and [row["outcome"] for row in planned] == ["enrolled"] * 4
    assert persons(opened) == [] and trail(opened) == []
    status, _, summary = run(capsys, folder, "--groups", "residents,staff", "--report", report)
    assert status == 0 and summary["outcomes"] == {"enrolled": 4} and summary["persons"] == 2
    assert persons(opened) == [(COLLINS, 3, ["residents", "staff"]), (HOPPER, 1, ["residents", "staff"])]
    with report.open(newline="", encoding="utf-8") as file:
        assert [row["name"] for row in csv.DictReader(file)] == [COLLINS] * 3 + [HOPPER]
    actions = [record.action for record in trail(opened)]
    assert (actions[0], actions[-1]) == ("enrolment.finished", "enrolment.started")
    assert actions.count("person.created") == 2 and actions.count("photo.added") == 4
    assert {record.actor.name for record in trail(opened)} == {"cardea enrol"}
    assert COLLINS not in str(trail(opened))
    status, _, summary = run(capsys, folder)
    assert status == 0 and summary["outcomes"] == {"already_enrolled": 4}


def test_what_was_not_enrolled_is_told_with_reasons(
    capsys: pytest.CaptureFixture[str], folder: Path, opened: Store, faces: dict[str, bytes], tmp_path: Path
) -> None:
    (folder / "Notes.txt").write_text("nobody")
    (folder / "Twin.jpg").write_bytes(another(faces[COLLINS], 9))
    report = tmp_path / "report.csv"
    assert main(["enrol", str(folder), "--report", str(report)]) == 1
    shown = capsys.readouterr()
    assert "5 of 6 photos" not in shown.out and "6 of 6 photos, 2 persons" in shown.out
    assert "duplicate_face" in shown.out and "unsupported-media-type" in shown.out
    assert f"6/6 duplicate Twin.jpg duplicate_face ({COLLINS})" in shown.err
    with report.open(newline="", encoding="utf-8") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert rows["Twin.jpg"]["other_name"] == COLLINS and float(rows["Twin.jpg"]["similarity"]) > 0.66
    assert [name for name, _, _ in persons(opened)] == [COLLINS, HOPPER]
    assert main(["enrol", str(folder), "--accept-duplicates"]) == 1  # the notes are still no photo
    assert [name for name, _, _ in persons(opened)] == [COLLINS, HOPPER, "Twin"]


def test_a_file_name_that_is_not_utf8_is_told_and_the_others_go_on(
    capsys: pytest.CaptureFixture[str], folder: Path, opened: Store, tmp_path: Path
) -> None:
    (folder / os.fsdecode(b"Jos\xe9.jpg")).write_bytes(b"photo")
    (folder / os.fsdecode(b"Ren\xe9.jpg")).symlink_to("nothing.jpg")
    report = tmp_path / "report.csv"
    status, rows, summary = run(capsys, folder, "--report", report)
    assert status == 1 and summary["outcomes"] == {"enrolled": 4, "failed": 2}
    troubles = [row["reasons"] for row in rows if row["outcome"] == "failed"]
    assert troubles == [["invalid_name"], ["missing_file", "invalid_name"]]
    assert r"Jos\udce9.jpg" in report.read_text(encoding="utf-8")
    told = subprocess.run([*COMMAND, folder], check=False, capture_output=True, text=True)
    assert told.returncode == 1 and r"5/6 failed Jos\udce9.jpg invalid_name" in told.stderr
    assert [name for name, _, _ in persons(opened)] == [COLLINS, HOPPER]


def test_a_table_is_enrolled(
    capsys: pytest.CaptureFixture[str], folder: Path, opened: Store, faces: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "outside.jpg").write_bytes(faces[HOPPER])
    table = folder / "people.csv"
    table.write_text(
        f"photo,photo2,name,groups\n{COLLINS}/0.jpg,{COLLINS}/1.jpg,E. Collins,staff\n../outside.jpg,,Eve,\n"
    )
    status, rows, _ = run(capsys, table, "--groups", "residents")
    assert status == 1 and [row["reasons"] for row in rows] == [[], ["near_duplicate"], ["path_outside"]]
    assert persons(opened) == [("E. Collins", 2, ["staff"])]


def test_wrong_words_are_a_matter_of_set_up(capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("who\nAnn\n")
    for words in (
        [],
        [tmp_path / "nowhere"],
        [folder, "--compreface", folder],
        [folder, "--building", "nowhere"],
        [folder, "--groups", "staff,gar\udce7ons"],
        [folder, "--groups", "g" * 65],
        [folder, "--report", tmp_path / "no" / "report.csv"],
        [tmp_path / "bad.csv"],
        ["--compreface", tmp_path / "bad.csv"],
    ):
        assert main(["enrol", *map(str, words)]) == 2, words
        assert capsys.readouterr().err.startswith("cardea enrol: ")


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_was_cut_off_is_simply_run_again(
    capsys: pytest.CaptureFixture[str], folder: Path, opened: Store, faces: dict[str, bytes], ending: signal.Signals
) -> None:
    count = 12
    for number in range(3, count):
        (folder / COLLINS / f"{number}.jpg").write_bytes(another(faces[COLLINS], number))
    with subprocess.Popen(
        [*COMMAND, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None and process.stdout is not None
        while "2/" not in process.stderr.readline():
            pass
        process.send_signal(ending)
        out = process.stdout.read()
        process.stderr.read()
    ((name, done, _),) = persons(opened)
    assert name == COLLINS and 2 <= done < count
    if ending == signal.SIGINT:
        assert process.returncode == 130 and "run it again to go on" in out
        assert trail(opened)[0].action == "enrolment.finished"
    status, _, summary = run(capsys, folder)
    assert status == 0 and summary["outcomes"] == {"already_enrolled": done, "enrolled": count + 1 - done}
    assert persons(opened) == [(COLLINS, count, []), (HOPPER, 1, [])]


# What CompreFace's migrations make of its database, as far as a dump shows it.
COMPREFACE = """
CREATE TABLE model (id bigint PRIMARY KEY, name varchar(255) NOT NULL, guid varchar(36) NOT NULL UNIQUE,
    app_id bigint NOT NULL, api_key varchar(36) NOT NULL UNIQUE, type varchar(10), created_date timestamp);
CREATE TABLE subject (id uuid PRIMARY KEY, api_key varchar(36), subject_name varchar(255),
    UNIQUE (api_key, subject_name));
CREATE TABLE img (id uuid PRIMARY KEY, content bytea NOT NULL);
CREATE TABLE embedding (id uuid PRIMARY KEY, subject_id uuid REFERENCES subject ON DELETE CASCADE,
    embedding float8[] NOT NULL, calculator varchar(255) NOT NULL, img_id uuid REFERENCES img);
"""
DOORS, DEMO = "7d5a2f6e-3f0c-4a52-9a43-0a4f3c4bb3aa", "00000000-0000-0000-0000-000000000002"


@pytest.fixture
def dump(postgres_server: PostgresServer, faces: dict[str, bytes]) -> Iterator[Path]:
    """A dump that PostgreSQL made of a CompreFace database with two services."""
    postgres_server.execute("CREATE DATABASE frs")
    with psycopg.connect(host=str(postgres_server.folder), user="postgres", dbname="frs") as connection:
        connection.execute(COMPREFACE)
        for number, (name, key) in enumerate((("Doors", DOORS), ("Demo", DEMO))):
            connection.execute("INSERT INTO model VALUES (%s, %s, %s, 1, %s, 'R', now())", (number, name, key, key))
        for key, name, photos in (
            (DOORS, COLLINS, [faces[COLLINS], another(faces[COLLINS], 1)]),
            (DOORS, "Hopper \\ Grace\tUSN", [faces[HOPPER]]),
            (DOORS, "Without Pictures", [None]),
            (DEMO, "Somebody Famous", [None]),
        ):
            _add_subject(connection, key, name, photos)
    file = postgres_server.folder / "compreface.sql"
    postgres_server.run("pg_dump", "-h", str(postgres_server.folder), "-U", "postgres", "-f", str(file), "frs")
    yield file
    postgres_server.execute("DROP DATABASE frs")


def _add_subject(connection: psycopg.Connection, key: str, name: str, photos: list[bytes | None]) -> None:
    subject = "INSERT INTO subject VALUES (gen_random_uuid(), %s, %s) RETURNING id"
    picture = "INSERT INTO img VALUES (gen_random_uuid(), %s) RETURNING id"
    owner = connection.execute(subject, (key, name)).fetchone()
    for photo in photos:
        image = connection.execute(picture, (photo,)).fetchone() if photo else None
        values = (owner and owner[0], [0.25] * 512, image and image[0])
        connection.execute("INSERT INTO embedding VALUES (gen_random_uuid(), %s, %s, 'Calculator@arcface', %s)", values)


def test_a_compreface_dump_is_taken_over(capsys: pytest.CaptureFixture[str], dump: Path, opened: Store) -> None:
    status, rows, summary = run(capsys, "--compreface", dump, "--groups", "residents")
    assert status == 1 and summary["outcomes"] == {"enrolled": 2, "failed": 2}
    assert summary["reasons"] == {"no_stored_photo": 1, "invalid_name": 1}
    assert persons(opened) == [(COLLINS, 2, ["residents"])]
    assert DOORS not in str(rows)
    status, _, summary = run(capsys, "--compreface", dump, "--service", "Doors")
    assert summary["outcomes"] == {"already_enrolled": 2, "failed": 2}
    assert main(["enrol", "--compreface", str(dump), "--service", "Demo"]) == 1  # a service without one picture
    assert main(["enrol", "--compreface", str(dump), "--service", "Gate"]) == 2
    assert "Demo, Doors" in capsys.readouterr().err
