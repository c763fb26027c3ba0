"""The session description of a clip (RFC 4566), the body of a DESCRIBE answer."""

from workers.simulator.clip import CLOCK_RATE, Clip

TRACK = "track0"


def describe(clip: Clip, host: str) -> str:
    """Return the SDP for one live video stream."""
    payload = clip.payload
    family = "IP6" if ":" in host else "IP4"
    lines = [
        "v=0",
        f"o=- 1 1 IN {family} {host}",
        "s=Virtual camera",
        f"c=IN {family} {'::' if family == 'IP6' else '0.0.0.0'}",
        "t=0 0",
        "a=range:npt=now-",
        f"m=video 0 RTP/AVP {payload.type}",
        f"a=rtpmap:{payload.type} {payload.name}/{CLOCK_RATE}",
    ]
    if clip.format_parameters:
        lines.append(f"a=fmtp:{payload.type} {clip.format_parameters}")
    lines.append(f"a=control:{TRACK}")
    return "\r\n".join(lines) + "\r\n"
