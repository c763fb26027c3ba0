"""The sending half of the live view, see `app.live`: newest analysed frames of the cameras that somebody looks at.

One thread asks Redis once a second which cameras have subscribers. For the others nothing is made: the inference loop
only looks a name up in an empty set. Encoding and sending are this thread's work, so a slow Redis delays no decision.
"""

import base64
import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any

import numpy as np
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.live import channel
from app.types import Array, Camera, Frame, Image
from workers.outage import Outage
from workers.pipeline import CameraPipeline, Sight
from workers.stills import encoded

log = logging.getLogger(__name__)

WIDTH = 640  # pixels
QUALITY = 70
INTERVAL = 0.2  # seconds between pictures of one camera
ASK = 1.0  # seconds between questions for subscribers
ANSWER = 2.0  # seconds after which a silent Redis is taken for gone


@dataclass(frozen=True, slots=True)
class View:
    """One frame as it will be shown."""

    camera: Camera
    at: str
    image: Image
    persons: list[dict[str, Any]]
    faces: list[list[float]]
    sight: Sight


class LiveView:
    """Sends what is looked at.

    Args:
        cameras: tells the ids of the cameras of this worker.
    """

    def __init__(self, redis_url: str, stream: str, cameras: Callable[[], Iterable[str]]) -> None:
        self._client = redis.Redis.from_url(
            redis_url,
            protocol=2,
            socket_connect_timeout=ANSWER,
            socket_timeout=ANSWER,
            retry=Retry(NoBackoff(), 0),
        )
        self._stream = stream
        self._cameras = cameras
        self._wanted: frozenset[str] = frozenset()
        self._last: dict[str, float] = {}  # camera -> clock of its last frame here; each is written by one loop
        self._views: dict[str, View] = {}  # the newest one of each camera
        self._changed = Condition()
        self._stopping = False
        self._outage = Outage("the live view's Redis")
        self._thread = Thread(target=self._run, name="live-view", daemon=True)

    def start(self) -> None:
        """Begin to ask for subscribers."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=2 * ANSWER)
        self._client.close()

    def shows(self, camera: str) -> bool:
        """Tell whether somebody looks at a camera, by its id."""
        return camera in self._wanted

    def offer(self, camera: Camera, frame: Frame, pipeline: CameraPipeline) -> None:
        """Take the frame that `pipeline` has just analysed, if somebody looks and it is time for a picture.

        Called by the inference loop, to which the frame's decoder belongs: it scales the picture, no more.
        """
        if camera.id not in self._wanted or frame.clock - self._last.get(camera.id, -INTERVAL) < 0.9 * INTERVAL:
            return
        self._last[camera.id] = frame.clock
        view = _view(camera, frame, pipeline)
        if view is not None:
            with self._changed:
                self._views[camera.id] = view
                self._changed.notify()

    def _run(self) -> None:
        ask_at = time.monotonic()
        while (views := self._next(ask_at)) is not None:
            try:
                for view in views:
                    self._client.publish(channel(self._stream, view.camera.id), _message(view))
                if time.monotonic() >= ask_at:
                    self._wanted = self._asked()
                    ask_at = time.monotonic() + ASK
                self._outage.over()
            except redis.RedisError as error:
                self._wanted = frozenset()
                ask_at = time.monotonic() + self._outage.failed(error)

    def _next(self, ask_at: float) -> list[View] | None:
        """Wait for views or for the time to ask; None when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._views or self._stopping, timeout=max(ask_at - time.monotonic(), 0))
            views, self._views = list(self._views.values()), {}
            return None if self._stopping else views

    def _asked(self) -> frozenset[str]:
        cameras = list(self._cameras())
        if not cameras:
            return frozenset()
        answer = self._client.pubsub_numsub(*(channel(self._stream, camera) for camera in cameras))
        return frozenset(camera for camera, (_, count) in zip(cameras, answer, strict=True) if count)


def _view(camera: Camera, frame: Frame, pipeline: CameraPipeline) -> View | None:
    """Return what is to be shown of a frame; nothing of it changes any more."""
    sight, picture = pipeline.sight, frame.picture
    if sight is None:
        return None
    width = min(picture.width, WIDTH)
    image = picture.scaled(width, round(picture.height * width / picture.width))
    size = np.array([picture.width, picture.height] * 2, np.float32)
    persons = []
    for track in sight.tracks:
        decision, person = pipeline.verdict_on(track.id)
        persons.append(
            {
                "box": _shares(track.box, size),
                "track": track.id,
                "state": "seen" if decision is None else decision.value,
                "person": person,
            }
        )
    faces = [_shares(box, size) for box in sight.faces.boxes]
    return View(camera, frame.captured_at.isoformat(), image, persons, faces, sight)


def _message(view: View) -> str:
    motion = view.sight.motion
    rows, columns = motion.active.shape
    return json.dumps(
        {
            "camera": view.camera.id,
            "at": view.at,
            "width": view.image.shape[1],
            "height": view.image.shape[0],
            "jpeg": base64.b64encode(encoded(view.image, QUALITY)).decode(),
            "persons": view.persons,
            "faces": [{"box": box} for box in view.faces],
            "motion": {
                "columns": columns,
                "rows": rows,
                "active": np.flatnonzero(motion.active).tolist(),
            },
            "zones": view.camera.zones,
            "exited": not motion.open,
            "why": motion.why,
            "strength": round(motion.strength, 2),
        }
    )


def _shares(box: Array, size: Array) -> list[float]:
    return [round(float(share), 4) for share in np.clip(box / size, 0, 1)]
