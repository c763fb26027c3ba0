"""What to do about a camera in each state, and about one that is kept from seeing: for answers and the dashboard."""

from app.types import CameraState, Tampering, TamperKind

ADVICE: dict[CameraState, str] = {
    CameraState.ONLINE: "",
    CameraState.OFFLINE: (
        "Check the camera's power and network, and that address and port are right. It is tried again by itself."
    ),
    CameraState.AUTH_FAILED: (
        "Enter user and password of the camera anew. It is tried seldom until then, so that it locks no account."
    ),
    CameraState.STALLED: "The connection stands but the picture does not move. If it lasts, restart the camera.",
    CameraState.NO_VIDEO: (
        "Check the path of the stream, and that the camera sends H.264, H.265 or MJPEG. Its manual lists its paths."
    ),
}
ANEW = "If its picture is as it should be, switch it off and on again: what it sees then counts."
TAMPERED: dict[TamperKind, str] = {
    TamperKind.COVERED: (
        "Look at the camera: something covers its lens, or the light is out. Take it off, or put light before the "
        f"door. {ANEW}"
    ),
    TamperKind.TURNED: (
        "Look at the camera: it was turned, or something large stands before it. Turn it back. If you aimed it anew "
        "yourself, do nothing: after ten minutes the new view counts."
    ),
    TamperKind.DEFOCUSED: f"Look at the camera: clean its lens, and set its focus if that can be done. {ANEW}",
}
STARTING = "No worker watches it yet, or its first picture is still awaited. If it lasts, check that a worker runs."
SWITCHED_OFF = "It is switched off: nobody watches it."


def advice(state: CameraState | None, *, enabled: bool, tampering: Tampering | None = None) -> str:
    """Return what an operator can do, empty when there is nothing.

    Args:
        state: None while nothing is known.
        tampering: what keeps the camera from seeing now.
    """
    if not enabled:
        return SWITCHED_OFF
    if tampering is not None:
        return TAMPERED[tampering.kind]
    return STARTING if state is None else ADVICE[state]
