"""The demo as a person runs it: one process, a camera over RTSP, enrolment over REST, events from the stream."""

import json
import subprocess
import sys

import pytest

from app.cli.demo_clip import RESIDENT, STRANGER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_the_resident_is_granted_and_the_stranger_is_not(portrait_files: dict[str, bytes]) -> None:
    command = [sys.executable, "-m", "app", "demo", "--seconds", "28", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    *events, summary = [json.loads(line) for line in done.stdout.splitlines()]
    assert set(summary["granted"]) == {RESIDENT} and summary["unknown"] >= 1
    assert summary["events"] == len(events) == len({event["id"] for event in events})
    assert 0.2 < summary["early_exit_rate"] < 1
    assert summary["frames"]["analysed"] <= summary["frames"]["decoded"]
    grants = [event["data"] for event in events if event["type"].startswith("org.cardea.access.granted")]
    assert {grant["person"]["name"] for grant in grants} == {RESIDENT}
    assert all(grant["similarity"] >= grant["threshold"] and grant["reasons"] == ["matched"] for grant in grants)
    assert STRANGER not in done.stdout
