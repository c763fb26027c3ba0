"""What folders, tables, archives and dumps say about whom to enrol, and which of them are refused."""

import io
import stat
import struct
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.enrolment import archives
from app.enrolment.archives import Archive
from app.enrolment.compreface import submissions as dumped
from app.enrolment.enroller import Submission
from app.enrolment.sources import MAX_PHOTOS, Folder, submissions
from app.errors import SourceError
from app.photos import MAX_BYTES
from app.store.records import PersonFields

COMMON = PersonFields("", groups=frozenset({"residents"}))


def folder(root: Path, **files: str) -> Folder:
    """A folder whose files hold their own text."""
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content)
    return Folder(root)


def seen(found: list[Submission]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.fields.name, one.file, one.trouble) for one in found]


def test_names_of_files_and_folders_are_names_of_persons(tmp_path: Path) -> None:
    names = {"Ann.jpg": "a", "Bob Dole/1.png": "b1", "Bob Dole/2.webp": "b2", "Jose\u0301.JPG": "j", ".DS_Store": "x"}
    found = submissions(folder(tmp_path, **names, **{"Ann/deep/er.jpg": "d", "desktop.ini": "x"}), COMMON)
    assert seen(found) == [
        ("Ann", "Ann/deep/er.jpg", ("too_deep",)),
        ("Ann", "Ann.jpg", ()),
        ("Bob Dole", "Bob Dole/1.png", ()),
        ("Bob Dole", "Bob Dole/2.webp", ()),
        ("José", "Jose\u0301.JPG", ()),
    ]
    assert [one.position for one in found] == [0, 1, 2, 3, 4]
    assert found[2].read() == b"b1" and found[2].fields.groups == {"residents"}


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_text("secret")
    tree = folder(tmp_path / "in", **{"Ann.jpg": "a"})
    (tmp_path / "in/Bob.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "in/Eve.jpg").symlink_to("Ann.jpg")
    (tmp_path / "in/Gone.jpg").symlink_to("nothing.jpg")
    troubles = {one.fields.name: one.trouble for one in submissions(tree, COMMON)}
    assert troubles == {"Ann": (), "Bob": ("path_outside",), "Eve": (), "Gone": ("missing_file",)}


def test_a_table_says_everything_about_a_person(tmp_path: Path) -> None:
    table = (
        "\ufeffphoto,photo2,Name,external_id,groups,valid_from,valid_until,consent_at,erase_on\n"
        'a.jpg,b.jpg,"Collins, Eileen",flat-12,staff; night ,2026-01-01,2030-12-31T23:00:00+01:00,2026-01-01,2090-01-01'
        "\n"
        "c.jpg,,Grace,,,,,,\n"
        ",,,,,,,,\n"
    )
    files = {"people.csv": table, "a.jpg": "a", "b.jpg": "b", "c.jpg": "c"}
    found = submissions(folder(tmp_path, **files), COMMON)
    first = found[0].fields
    assert seen(found) == [("Collins, Eileen", "a.jpg", ()), ("Collins, Eileen", "b.jpg", ()), ("Grace", "c.jpg", ())]
    assert first.external_id == "flat-12" and first.groups == {"staff", "night"}
    assert first.valid_from == datetime(2026, 1, 1, tzinfo=UTC) == first.consent_at
    assert first.valid_until == datetime(2030, 12, 31, 22, tzinfo=UTC) and first.erase_on is not None
    assert found[2].fields.groups == {"residents"} and found[2].fields.external_id is None


@pytest.mark.parametrize(
    ("row", "trouble"),
    [
        ("../out.jpg,Ann,,,", "path_outside"),
        ("/etc/passwd,Ann,,,", "path_outside"),
        ("..\\out.jpg,Ann,,,", "path_outside"),
        ("C:/out.jpg,Ann,,,", "path_outside"),
        ("gone.jpg,Ann,,,", "missing_file"),
        (",Ann,,,", "no_photo"),
        ("a.jpg,,,,", "invalid_name"),
        (f"a.jpg,{'A' * 201},,,", "invalid_name"),
        ("a.jpg,A\0B,,,", "invalid_name"),
        ("a.jpg,Ann,,tomorrow,", "invalid_valid_from"),
        ("a.jpg,Ann,,2026-01-01T08:00,", "invalid_valid_from"),
        ("a.jpg,Ann,,2026-01-02,2026-01-01", "invalid_valid_until"),
        (f"a.jpg,Ann,{'g' * 65},,", "invalid_groups"),
    ],
)
def test_a_row_that_makes_no_sense_is_told_and_the_others_go_on(tmp_path: Path, row: str, trouble: str) -> None:
    table = f"photo,name,groups,valid_from,valid_until\n{row}\na.jpg,Zoe,,,\n"
    found = submissions(folder(tmp_path, **{"t.csv": table, "a.jpg": "a"}), COMMON)
    assert trouble in found[0].trouble
    assert found[1].trouble == ()


def test_two_people_of_one_name_need_external_ids(tmp_path: Path) -> None:
    table = "photo,name,external_id\na.jpg,Ann,1\na.jpg,Ann,2\na.jpg,Ann,\na.jpg,Bob,3\na.jpg,Carl,3\n"
    found = submissions(folder(tmp_path, **{"t.csv": table, "a.jpg": "a"}), COMMON)
    assert [one.trouble for one in found] == [
        (),
        (),
        ("ambiguous_name",),
        ("repeated_external_id",),
        ("repeated_external_id",),
    ]


def test_a_date_of_erasure_that_is_over_is_refused(tmp_path: Path) -> None:
    table = "photo,name,erase_on\na.jpg,Ann,2020-01-01\n"
    (one,) = submissions(folder(tmp_path, **{"t.csv": table, "a.jpg": "a"}), COMMON)
    assert one.trouble == ("invalid_erase_on",)


@pytest.mark.parametrize(
    "files",
    [
        {"t.csv": ""},
        {"t.csv": "name\nAnn\n"},
        {"t.csv": "photo,name,colour\na.jpg,Ann,red\n"},
        {"t.csv": "photo,name,name\na.jpg,Ann,Ann\n"},
        {"t.csv": 'photo,name\n"a.jpg,Ann\n'},
        {"t.csv": "photo,name\n", "u.csv": "photo,name\n"},
    ],
)
def test_a_table_that_cannot_be_read(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(SourceError) as refused:
        submissions(folder(tmp_path, **files), COMMON)
    assert refused.value.code == "archive-layout"


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("photo,name\na.jpg,José\n".encode("latin-1"))
    with pytest.raises(SourceError, match="UTF-8"):
        submissions(Folder(tmp_path), COMMON)


def test_european_spreadsheets_separate_by_semicolons(tmp_path: Path) -> None:
    table = 'photo;name;groups\r\na.jpg;Ann;"staff;night"\r\n'
    (one,) = submissions(folder(tmp_path, **{"t.csv": table, "a.jpg": "a"}), COMMON)
    assert one.fields.groups == {"staff", "night"}


def packed(*files: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content, method)
    return out


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def altered(archive: io.BytesIO, offset: int, value: int) -> io.BytesIO:
    """An archive whose central directory says something else in a field of 16 bits of its first entry."""
    content = bytearray(archive.getvalue())
    start = content.index(b"PK\1\2")
    content[start + offset : start + offset + 2] = struct.pack("<H", value)
    return io.BytesIO(bytes(content))


def announced(archive: io.BytesIO, size: int) -> io.BytesIO:
    """An archive whose first entry says that it has another size when unpacked."""
    content = bytearray(archive.getvalue())
    start = content.index(b"PK\1\2")
    content[start + 24 : start + 28] = struct.pack("<I", size)
    return io.BytesIO(bytes(content))


def crowded(entries: int) -> io.BytesIO:
    """An archive whose directory alone would fill the memory: the same entry over and over."""
    whole = packed(("a.jpg", b"a"), method=zipfile.ZIP_STORED).getvalue()
    start, end = whole.index(b"PK\1\2"), whole.index(b"PK\5\6")
    entry, tail = whole[start:end], bytearray(whole[end:])
    tail[8:16] = struct.pack("<HHI", entries & 0xFFFF, entries & 0xFFFF, entries * len(entry))
    return io.BytesIO(whole[:start] + entry * entries + bytes(tail))


HOSTILE = {
    "no zip": (io.BytesIO(b"\xff\xd8\xff photo"), "archive-unreadable"),
    "empty": (io.BytesIO(b""), "archive-unreadable"),
    "cut off": (io.BytesIO(packed(("a.jpg", b"a")).getvalue()[:-30]), "archive-unreadable"),
    "nothing in it": (packed(), "archive-empty"),
    "rubbish alone": (packed(("__MACOSX/._a.jpg", b"x"), (".hidden", b"x")), "archive-empty"),
    "up and out": (packed(("../../etc/cron.d/x.jpg", b"x")), "archive-path"),
    "out from within": (packed(("Ann/../../x.jpg", b"x")), "archive-path"),
    "absolute": (packed(("/etc/x.jpg", b"x")), "archive-path"),
    "a drive": (packed(("C:/x.jpg", b"x")), "archive-path"),
    "backslashes": (packed(("Ann\\..\\x.jpg", b"x")), "archive-path"),
    "link": (packed((link("Ann.jpg"), b"/etc/passwd")), "archive-path"),
    "control characters": (packed(("Ann\x1b[2J.jpg", b"x")), "archive-path"),
    "encrypted": (altered(packed(("a.jpg", b"a")), 8, 1), "archive-encrypted"),
    "LZMA": (packed(("a.jpg", b"a"), method=zipfile.ZIP_LZMA), "archive-unreadable"),
    "a zip in the zip": (packed(("a.jpg", b"a"), ("b.zip", b"b")), "archive-nested"),
    "names in a code page": (
        io.BytesIO(packed(("aaaa.jpg", b"a")).getvalue().replace(b"aaaa.jpg", b"Jos\xe9.jpg")),
        "archive-names",
    ),
    "too many": (packed(*((f"{number}.jpg", b"") for number in range(MAX_PHOTOS + 2))), "archive-too-many-files"),
    "a directory without end": (crowded(500_000), "archive-too-many-files"),
    "announces terabytes": (announced(packed(("a.jpg", b"a")), 0xFFFFFFF0), "archive-too-large"),
}


@pytest.mark.parametrize("fault", [fault for fault, (_, code) in HOSTILE.items() if code])
def test_a_hostile_archive_is_refused_by_its_directory(fault: str) -> None:
    content, code = HOSTILE[fault]
    with pytest.raises(SourceError) as refused:
        Archive(content)
    assert refused.value.code == code


def test_no_file_of_an_archive_is_read_past_its_limit() -> None:
    """A directory that announces little hides what deflate makes of it: 100 MB from 100 kB."""
    bomb = packed(("bomb.jpg", bytes(100_000_000)))
    tree = Archive(bomb)
    assert len(tree.read("bomb.jpg")) == MAX_BYTES + 1  # enough for the photo to be refused as too large
    lying = Archive(announced(bomb, 1000))
    with pytest.raises(SourceError) as refused:
        lying.read("bomb.jpg")
    assert refused.value.code == "archive-unreadable"


def test_all_files_of_an_archive_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "UNPACKED_BYTES", 3_000_000)  # the real limit takes seconds to reach
    tree = Archive(packed(("a.jpg", bytes(1_000_000))))
    for _ in range(3):
        tree.read("a.jpg")
    with pytest.raises(SourceError) as refused:
        tree.read("a.jpg")  # as a table that names one photo again and again would
    assert refused.value.code == "archive-too-large"


def test_an_archive_with_damaged_content() -> None:
    content = packed(("a.jpg", bytes(range(256)) * 40), method=zipfile.ZIP_STORED).getvalue()
    tree = Archive(io.BytesIO(content.replace(bytes(range(200, 256)), bytes(56), 1)))
    with pytest.raises(SourceError) as refused:
        tree.read("a.jpg")
    assert refused.value.code == "archive-unreadable"


def test_a_folder_around_everything_is_the_root() -> None:
    whole = packed(("residents/Ann.jpg", b"a"), ("residents/Bob/1.jpg", b"b"), ("__MACOSX/residents/._Ann.jpg", b"x"))
    assert seen(submissions(Archive(whole), COMMON)) == [("Ann", "Ann.jpg", ()), ("Bob", "Bob/1.jpg", ())]
    table = packed(("r/t.csv", b"photo,name\nAnn.jpg,Ann B\n../x.jpg,Eve\n"), ("r/Ann.jpg", b"a"))
    assert seen(submissions(Archive(table), COMMON)) == [
        ("Ann B", "Ann.jpg", ()),
        ("Eve", "../x.jpg", ("path_outside",)),
    ]


def test_names_that_are_utf8_without_saying_so() -> None:
    quiet = packed(("aaaaa.jpg", b"a")).getvalue().replace(b"aaaaa.jpg", "José.jpg".encode())
    assert seen(submissions(Archive(io.BytesIO(quiet)), COMMON)) == [("José", "José.jpg", ())]


DUMP = r"""--
SET client_encoding = 'UTF8';
COPY public.embedding (id, subject_id, embedding, calculator, img_id) FROM stdin;
e1	s1	{0.1,0.2}	Calculator	i1
e2	s1	{0.1,0.2}	Calculator	i2
e3	s2	{0.1,0.2}	Calculator	\N
e4	s4	{0.1,0.2}	Calculator	i3
\.
COPY public.img (id, content) FROM stdin;
i1	\\xffd8ff00
i2	\\x
i3	\\x01
\.
COPY public.model (id, name, guid, app_id, api_key, type) FROM stdin;
1	Doors	g	1	key-of-doors	R
2	Other	h	1	key-of-others	R
\.
COPY public.subject (id, api_key, subject_name) FROM stdin;
s1	key-of-doors	Ann \\ "B"
s2	key-of-doors	No picture
s3	key-of-doors	\N
s4	key-of-others	Zoe
\.
"""


def test_a_dump_gives_the_pictures_of_one_service(tmp_path: Path) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text(DUMP)
    found = dumped(dump, COMMON, "Doors")
    assert seen(found) == [
        ("", "", ("invalid_name", "no_stored_photo")),
        ('Ann \\ "B"', "i1", ()),
        ('Ann \\ "B"', "i2", ()),
        ("No picture", "", ("no_stored_photo",)),
    ]
    assert found[1].read() == b"\xff\xd8\xff\0" and found[2].read() == b""


@pytest.mark.parametrize(
    ("content", "service", "code"),
    [
        (DUMP.encode(), None, "dump-service"),
        (DUMP.encode(), "None of them", "dump-service"),
        (b"PGDMP\1\x0e", None, "dump-unreadable"),
        (b"INSERT INTO subject VALUES (1)", None, "dump-unreadable"),
        (DUMP.encode()[:400], None, "dump-unreadable"),
        (DUMP.replace("Zoe", "Zo\xeb").encode("latin-1"), None, "dump-unreadable"),
    ],
)
def test_a_dump_that_cannot_be_used(tmp_path: Path, content: bytes, service: str | None, code: str) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_bytes(content)
    with pytest.raises(SourceError) as refused:
        dumped(dump, COMMON, service)
    assert refused.value.code == code and "key-of" not in str(refused.value)
