"""Try a camera's source before it is saved: does it answer, what does it send, and what to do if not."""

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from app.advice import advice
from app.api.auth import Acting, needs_here
from app.api.cameras import Certificate, Source, Transport, refuse_elsewhere, refuse_mask
from app.api.problems import documented
from app.api.schemas import BuildingId, Strictly
from app.api.services import Serving
from app.camera_check import Look, check_source
from app.store import audit, buildings
from app.store.records import Scope
from app.types import CameraState

router = APIRouter(prefix="/buildings/{building}/camera-checks", tags=["cameras"])


class CameraCheck(Strictly):
    """A source to try."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"source": "rtsps://viewer:secret@192.0.2.10/stream1", "transport": "tcp"}]}
    )

    source: Source = Field(description="rtsp:// or rtsps:// with user and password, or the path of a video file")
    transport: Transport = "tcp"
    ca_certificate: Certificate | None = Field(None, description="PEM that an rtsps:// camera is verified against")


class CameraCheckRead(BaseModel):
    """What came of it. What is not known is null."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "reachable": True,
                    "state": "online",
                    "detail": "pictures come",
                    "advice": "",
                    "secure": True,
                    "codec": "h264",
                    "width": 1920,
                    "height": 1080,
                    "fps": 25.0,
                    "seconds": 0.412,
                    "still": "data:image/jpeg;base64,/9j/4AAQSkZJRg==",
                }
            ]
        }
    )

    reachable: bool = Field(description="whether something answers at this address")
    state: CameraState
    detail: str = Field(description="the same for people")
    advice: str = Field(description="what to do about it; empty when all is well")
    secure: bool = Field(description="whether the connection is encrypted and the camera's certificate verified")
    codec: str | None
    width: int | None = Field(description="pixels")
    height: int | None = Field(description="pixels")
    fps: float | None = Field(description="pictures a second, as they came")
    seconds: float = Field(description="until the first picture, or until it was clear that none comes")
    still: str | None = Field(description="data URL of a JPEG, at most 640 pixels wide")

    @staticmethod
    def of(look: Look, source: str) -> "CameraCheckRead":
        """Return the answer for a look."""
        return CameraCheckRead(
            reachable=look.state is not CameraState.OFFLINE,
            state=look.state,
            detail=look.detail,
            advice=advice(look.state, enabled=True),
            secure=source.startswith("rtsps://"),
            codec=look.codec,
            width=look.width,
            height=look.height,
            fps=look.fps,
            seconds=look.seconds,
            still=None if look.still is None else f"data:image/jpeg;base64,{look.still}",
        )


@router.post("", dependencies=[Depends(needs_here(Scope.OPERATOR))], responses=documented("not-found", "too-busy"))
def check_camera(services: Serving, building: BuildingId, body: CameraCheck, actor: Acting) -> CameraCheckRead:
    """Open a source for a second or two; it is not stored. The answer takes at most some 20 seconds."""
    refuse_mask(body.source)
    refuse_elsewhere(services, body.source)
    with services.store.reading() as session:
        buildings.get(session, building)
    with services.checks.turn():
        look = check_source(body.source, body.transport, body.ca_certificate)
    with services.store.session() as session:
        audit.add(session, actor, "camera.checked", building=building, detail={"state": look.state.value})
    return CameraCheckRead.of(look, body.source)
