"""Sealing: what opens, what does not, and how keys are changed."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import SealError, SetupError
from app.keyring import Keyring, key_of


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    made = Keyring(tmp_path / "keys" / "file")
    made.create()
    return made


def test_what_was_sealed_opens_under_its_label(keyring: Keyring) -> None:
    sealed = keyring.seal(b"a face", "photos.image/pho_1")
    assert b"a face" not in sealed
    assert keyring.unseal(sealed, "photos.image/pho_1") == b"a face"
    assert keyring.seal(b"a face", "photos.image/pho_1") != sealed


def test_sealed_bytes_cannot_be_moved_to_another_row(keyring: Keyring) -> None:
    sealed = keyring.seal(b"a face", "templates.vector/per_1")
    with pytest.raises(SealError, match=r"templates\.vector were altered"):
        keyring.unseal(sealed, "templates.vector/per_2")


@pytest.mark.parametrize("place", [5, 20, -1])
def test_altered_bytes_are_refused(keyring: Keyring, place: int) -> None:
    sealed = bytearray(keyring.seal(b"a face", "x"))
    sealed[place] ^= 1
    with pytest.raises(SealError):
        keyring.unseal(bytes(sealed), "x")


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"\x01" + bytes(20)])
def test_what_was_never_sealed_is_refused(keyring: Keyring, data: bytes) -> None:
    with pytest.raises(SealError, match="not sealed here"):
        keyring.unseal(data, "x")


def test_only_the_owner_may_read_the_file_and_its_folder(keyring: Keyring) -> None:
    assert stat.S_IMODE(keyring.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keyring.path.parent.stat().st_mode) == 0o700


def test_creating_twice_keeps_the_key(keyring: Keyring) -> None:
    before = keyring.ids
    keyring.create()
    keyring.reload()
    assert keyring.ids == before


def test_a_new_key_seals_and_the_old_one_still_opens(keyring: Keyring) -> None:
    old = keyring.seal(b"old", "x")
    name = keyring.add()
    assert stat.S_IMODE(keyring.path.stat().st_mode) == 0o600
    assert key_of(keyring.seal(b"new", "x")) == name == keyring.current
    assert keyring.unseal(old, "x") == b"old"
    keyring.retire(frozenset({key_of(old)}))
    with pytest.raises(SealError, match=key_of(old)):
        keyring.unseal(old, "x")


def test_another_process_finds_a_key_that_was_added_meanwhile(keyring: Keyring) -> None:
    other = Keyring(keyring.path)
    assert len(other.ids) == 1
    keyring.add()
    assert other.unseal(keyring.seal(b"new", "x"), "x") == b"new"


def test_two_processes_that_add_keys_at_once_lose_none(keyring: Keyring) -> None:
    (first,) = keyring.ids
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda ring: ring.add(), [Keyring(keyring.path) for _ in range(40)]))
    assert sorted(keyring.ids) == sorted([first, *added])


def test_a_file_that_is_damaged_meanwhile_takes_no_key_away(keyring: Keyring, caplog: pytest.LogCaptureFixture) -> None:
    sealed, kept = keyring.seal(b"a face", "x"), keyring.path.read_bytes()
    keyring.path.write_text("half a k")
    assert [keyring.unseal(keyring.seal(b"another", "y"), "y"), keyring.unseal(sealed, "x")] == [b"another", b"a face"]
    assert caplog.text.count("until it is put right") == 1 and "half a k" not in caplog.text
    keyring.path.write_bytes(kept)
    with pytest.raises(SetupError):
        Keyring(keyring.path.with_name("none")).seal(b"a face", "x")
    assert keyring.unseal(sealed, "x") == b"a face"


def test_one_key_must_stay(keyring: Keyring) -> None:
    with pytest.raises(SetupError, match="must stay"):
        keyring.retire(frozenset(keyring.ids))


@pytest.mark.parametrize("content", ["", "AAAA\n", "not base64 at all\n"])
def test_a_damaged_file_is_a_clear_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(SetupError, match="damaged"):
        _ = Keyring(file).ids


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot be read"):
        Keyring(tmp_path / "none").seal(b"a", "x")
