"""Where a frame's time goes, by camera."""

from dataclasses import asdict
from datetime import datetime

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import needs_here
from app.api.problems import documented
from app.api.schemas import BuildingId, Id
from app.api.services import Serving
from app.store import cameras, workers
from app.store.records import Scope
from app.timings import timings

router = APIRouter(prefix="/buildings/{building}/cameras/{camera}/timings", tags=["cameras"])


class TimingsRead(BaseModel):
    """Where a frame's time goes and what early exit saves, as means since the camera was opened."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "since": "2026-01-01T08:00:00Z",
                    "seconds": 3600.0,
                    "analysed": 18000,
                    "stage_ms": {
                        "decode": 1.5,
                        "stem": 1.8,
                        "gate": 0.6,
                        "tail": 0.8,
                        "faces": 0.2,
                        "embed": 0.1,
                        "other": 0.9,
                    },
                    "frame_ms": 5.9,
                    "cpu_share": 0.0295,
                    "exit_rate": 0.95,
                    "drop_rate": 0.0,
                    "saved_ms_per_second": 104.5,
                    "saved_share": 0.78,
                    "lag": 0.04,
                }
            ]
        }
    )

    since: datetime | None = Field(description="null while no worker has told anything of this camera")
    seconds: float
    analysed: int = Field(description="frames")
    stage_ms: dict[str, float] = Field(description="CPU milliseconds per analysed frame, by stage")
    frame_ms: float | None = Field(description="their sum; rates are null while there is nothing to divide by")
    cpu_share: float | None = Field(description="of one core")
    exit_rate: float | None = Field(description="share of the analysed frames that ended at the gate")
    drop_rate: float | None = Field(description="share of the frames that a newer one replaced before its analysis")
    saved_ms_per_second: float | None = Field(
        description="CPU milliseconds a second that frames which ended at the gate would have cost behind it, at the "
        "mean cost of those that went on; what the gate itself costs is not taken off"
    )
    saved_share: float | None = Field(description="the same as a share of all that would be spent without early exit")
    lag: float | None = Field(description="seconds from the capture of the last frame to the end of its analysis")


NOTHING_YET = TimingsRead(
    since=None,
    seconds=0.0,
    analysed=0,
    stage_ms={},
    frame_ms=None,
    cpu_share=None,
    exit_rate=None,
    drop_rate=None,
    saved_ms_per_second=None,
    saved_share=None,
    lag=None,
)


@router.get("", dependencies=[Depends(needs_here(Scope.VIEWER))], responses=documented("not-found"))
def get_camera_timings(services: Serving, building: BuildingId, camera: Id) -> TimingsRead:
    """Read where the CPU time of a camera that is watched now goes; its worker tells it every two seconds."""
    with services.store.reading() as session:
        cameras.get(session, building, camera)
        stats = workers.stats(session, building).get(camera)
    return NOTHING_YET if stats is None else TimingsRead(**asdict(timings(stats)))
