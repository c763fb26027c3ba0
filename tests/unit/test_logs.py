"""What a log line holds, and what it never holds."""

import json
import logging
import sys

import pytest

from app.cli.logs import TEXT, JsonLines, WithoutSecrets


def record(message: str, *values: object) -> logging.LogRecord:
    return logging.LogRecord("workers.reader", logging.WARNING, __file__, 1, message, values, None)


def test_a_json_line_is_one_object_on_one_line() -> None:
    try:
        raise ValueError("broken\nin two")
    except ValueError:
        entry = record("camera %s failed\nbadly", "Tür")
        entry.exc_info = sys.exc_info()
    line = WithoutSecrets(JsonLines()).format(entry)
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["logger"], told["message"]) == ("warning", "workers.reader", "camera Tür failed\nbadly")
    assert "ValueError" in told["error"]
    assert told["at"].endswith("+00:00")


@pytest.mark.parametrize("form", [JsonLines(), logging.Formatter(TEXT)])
@pytest.mark.parametrize(
    "secret",
    [
        "rtsp://viewer:hush@10.0.0.5/1",
        "postgresql+psycopg://cardea:hush@db/cardea",
        "redis://:hush@redis/0",
        "key cardea_Ab12hushhushhushhushhush is refused",
    ],
)
def test_no_line_holds_a_password_or_a_key(form: logging.Formatter, secret: str) -> None:
    assert "hush" not in WithoutSecrets(form).format(record("cannot open %s", secret))


def test_a_traceback_is_masked_too() -> None:
    try:
        raise OSError("rtsp://user:hush@camera/1: refused")
    except OSError:
        entry = record("failed")
        entry.exc_info = sys.exc_info()
    assert "hush" not in WithoutSecrets(JsonLines()).format(entry)
