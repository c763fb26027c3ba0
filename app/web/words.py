"""What codes mean to people. Every decision, reason, state and entry of the audit trail has its plain words here."""

from app.gallery_health import Weakness
from app.store.audit import AuditRecord
from app.store.records import CameraRecord, EventRecord, Forgotten, InStream, Remains, Scope, Verdict
from app.types import AccessEvent, CameraState, Decision, Ending, Reason, TamperEvent, TamperKind

DECISIONS = {
    Decision.GRANTED: "May enter",
    Decision.DENIED: "May not enter",
    Decision.UNKNOWN: "Stranger",
    Decision.UNDECIDED: "Not sure",
}
DECISION_HELP = {
    Decision.GRANTED: "known, with the right to enter",
    Decision.DENIED: "known, without the right to enter",
    Decision.UNKNOWN: "like nobody who is enrolled",
    Decision.UNDECIDED: "no face was good enough to say",
}
REASONS = {
    Reason.FACE_TOO_SMALL: "The face is too small in the picture.",
    Reason.LOW_DETECTION_SCORE: "The face is hard to make out.",
    Reason.BLURRED: "The face is blurred.",
    Reason.EXTREME_POSE: "The face is turned away.",
    Reason.FRAME_EDGE: "The face is cut off at the edge of the picture.",
    Reason.TOO_DARK: "The face is too dark.",
    Reason.TOO_BRIGHT: "The face is overexposed.",
    Reason.LOW_QUALITY: "The face is too unclear to be known by.",
    Reason.NO_FACE: "No face was seen.",
    Reason.SEVERAL_FACES: "There is more than one face.",
    Reason.MATCHED: "The face matches the photos of this person.",
    Reason.BELOW_THRESHOLD: "The face is not similar enough to anybody who is enrolled.",
    Reason.AMBIGUOUS: "The face is about as similar to a second person.",
    Reason.VOTES_DISAGREE: "The pictures of this visit do not agree on one person.",
    Reason.TOO_FEW_SHOTS: "The face was seen too briefly.",
    Reason.GROUP_NOT_ALLOWED: "None of the person's groups may enter here.",
    Reason.NOT_YET_VALID: "The person's right to enter has not begun yet.",
    Reason.EXPIRED: "The person's right to enter has ended.",
    Reason.ELSEWHERE_IN_PICTURE: "The same person is somewhere else in the same picture.",
    Reason.GALLERY_STALE: "Cardea could not make sure that its list of persons is up to date, so it let nobody in.",
}
STATES = {
    CameraState.ONLINE: "Online",
    CameraState.OFFLINE: "Cannot be reached",
    CameraState.AUTH_FAILED: "Password refused",
    CameraState.STALLED: "Picture stands still",
    CameraState.NO_VIDEO: "No usable video",
}
TAMPERED = {
    TamperKind.COVERED: "Sees nothing",
    TamperKind.TURNED: "Shows another view",
    TamperKind.DEFOCUSED: "Out of focus",
}
ENDED = {
    Ending.RECOVERED: "Sees well again",
    Ending.ACCEPTED: "Another view counts now",
}
UNWATCHED, OFF = "Waiting for a picture", "Switched off"
SCOPES = {
    Scope.OPERATOR: "may see and change everything",
    Scope.VIEWER: "may see everything, change nothing",
    Scope.DEVICE: "receives events, for door controllers",
}
STAGES = {
    "decode": "Decode the video",
    "stem": "First glance",
    "gate": "Has anything changed?",
    "tail": "Look for people",
    "faces": "Find faces",
    "embed": "Compare faces",
    "other": "Everything else",
}
FORGOTTEN = {
    Forgotten.CONFIRMED: "has confirmed it",
    Forgotten.LEASE_ENDED: "has stopped, and decides nothing any more",
    Forgotten.UNCONFIRMED: "has not confirmed it yet",
}
REMAINS = {
    Remains.NONE: "Nothing readable is left.",
    Remains.IN_LOG: "Names may be left in its log until the next erasure. Pictures are sealed.",
    Remains.UNTIL_LOG_TURNS: "Names may be left in its log until that is reused. Pictures are sealed.",
    Remains.UNTIL_VACUUM: "Names may be left until the database cleans up. Pictures are sealed.",
}
IN_STREAM = {
    InStream.REMOVED: "Nothing is left.",
    InStream.UNTIL_REWRITE: "Nothing can be read; its files are written anew later.",
    InStream.PENDING: "It does not answer now; it is cleaned as soon as it does.",
}
WEAKNESSES = {
    Weakness.NO_TEMPLATE: "No usable photo: nobody recognises this person.",
    Weakness.LOW_QUALITY: "A poor photo: doors miss about every second look.",
    Weakness.UNLIKE_OWN_PHOTOS: "Unlike the person's other photos: does it show somebody else?",
    Weakness.LOOKS_LIKE_SOMEBODY: "Looks like somebody else here: a door may let in neither.",
    Weakness.ONLY_ONE_PHOTO: "There is no second photo.",
}
ACTIONS = {
    "login.accepted": "logged in",
    "login.refused": "was refused at log-in",
    "login.ended": "logged out",
    "key.created": "made a key",
    "key.refused": "sent a key that is not valid",
    "key.revoked": "revoked a key",
    "key.changed": "changed a key",
    "building.created": "added a building",
    "building.changed": "changed a building",
    "person.created": "added a person",
    "person.updated": "changed a person",
    "person.erased": "erased a person",
    "photo.added": "added a photo",
    "photo.erased": "erased a photo",
    "camera.created": "added a camera",
    "camera.updated": "changed a camera",
    "camera.deleted": "removed a camera",
    "camera.checked": "tested a camera's source",
    "event.corrected": "corrected an event",
    "correction.deleted": "took back a correction",
    "event.exported": "exported events",
    "embedder.prepared": "made templates of another embedder",
    "embedder.switched": "switched to another embedder",
    "embedder.forgotten": "deleted the templates of an embedder",
}
NOUNS = ("login", "key", "building", "person", "photo", "camera", "event", "correction")


def headline(record: EventRecord) -> str:
    """Return an access event in a few words."""
    event = record.event
    assert isinstance(event, AccessEvent)
    name = event.person_name or "Somebody who was erased"
    match event.decision:
        case Decision.GRANTED:
            return f"{name} may enter"
        case Decision.DENIED:
            return f"{name} may not enter"
        case Decision.UNKNOWN:
            return "A stranger"
        case Decision.UNDECIDED:
            return "Somebody who could not be recognised"


def tampered(event: TamperEvent) -> str:
    """Return what happened to what a camera can see."""
    return TAMPERED[event.kind] if event.ended_by is None else ENDED[event.ended_by]


def tampered_mood(event: TamperEvent) -> str:
    """Return ``good``, ``wait`` or ``bad``: nobody knows whether another view is a good one."""
    if event.ended_by is None:
        return "bad"
    return "good" if event.ended_by is Ending.RECOVERED else "wait"


def correction(verdict: Verdict, was: str, truly: str | None) -> str:
    """Return what was said about an event later.

    Args:
        was: whom the event names.
        truly: who it was, if that was said.
    """
    match verdict:
        case Verdict.WRONG_PERSON:
            return f"This was not {was}" + (f" but {truly}." if truly else ".")
        case Verdict.IS_PERSON:
            return f"This was {truly or 'somebody who was erased'}."
        case Verdict.NOT_A_PERSON:
            return "Nobody stood there."


def camera_state(camera: CameraRecord) -> str:
    """Return what a camera does, in a few words."""
    if not camera.fields.enabled:
        return OFF
    state, seen = camera.live_state, camera.kept_from_seeing
    if seen is not None:
        return f"{STATES[CameraState.ONLINE]}, but {TAMPERED[seen.kind].lower()}"
    return UNWATCHED if state is None else STATES[state]


def camera_mood(camera: CameraRecord) -> str:
    """Return ``good``, ``wait``, ``off`` or ``bad``, for the colour beside the words."""
    if not camera.fields.enabled:
        return "off"
    if camera.live_state is None:
        return "wait"
    return "good" if camera.live_state is CameraState.ONLINE and camera.kept_from_seeing is None else "bad"


def one_in(share: float) -> str:
    """Return a small share as people say it."""
    return f"1 in {1 / share:,.0f}" if share > 0 else "None"


def action(entry: AuditRecord) -> str:
    """Return what somebody did."""
    return ACTIONS.get(entry.action, entry.action.replace(".", " ").replace("_", " "))


def actor(entry: AuditRecord) -> str:
    """Return who did it."""
    if entry.actor.kind in ("key", "session"):
        return entry.actor.name
    return {"command": f"Command {entry.actor.name}", "system": "Cardea itself"}.get(entry.actor.kind, "Somebody")
