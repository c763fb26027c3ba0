from datetime import UTC, datetime

import pytest

from app.store.event_rows import to_event, to_row
from app.types import CameraEvent, CameraState, Ending, Event, TamperEvent, TamperKind

SINCE, NOON = datetime(2026, 3, 1, 11, tzinfo=UTC), datetime(2026, 3, 1, 12, tzinfo=UTC)
BEGUN = TamperEvent("c.1.2", 2, 1, "main", "c", TamperKind.TURNED, SINCE, None, None, "", NOON)
ENDED = TamperEvent("c.1.3", 3, 1, "main", "c", TamperKind.TURNED, SINCE, NOON, Ending.RECOVERED, "", NOON)
LOST = CameraEvent("c.1.4", 4, 1, "main", "c", CameraState.OFFLINE, CameraState.ONLINE, "", NOON)


@pytest.mark.parametrize("event", [BEGUN, ENDED, LOST])
def test_rows_from_before_type_and_end_were_kept_can_be_read(event: Event) -> None:
    row = to_row(event)
    assert to_event(row, None) == event
    row.detail = {key: value for key, value in row.detail.items() if key not in ("type", "ended_by")}
    assert to_event(row, None) == event
