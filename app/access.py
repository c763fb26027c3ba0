"""From the shots of a visit to one decision. Pure: no clock, no net, no store of its own.

A visit is one track of one body. Every usable shot votes for the nearest enrolled person, or for nobody; a person is
named when enough of the last shots agree and stay clear of the second person. Doubt never grants: a stale gallery, an
odd face on the track or a person who is already elsewhere in the picture all end in something other than "granted".
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from app.types import Array, Decision, FaceShot, Frame, Match, Person, Reason, Track

MARGIN = 0.05  # distance to the second person: less is a confusion of two
# Seconds from the first to the last shot that name a person. A shot that matches a wrong one is followed by another in
# .64 of cases within .2 s, .48 after .4 to .8 s, .18 after 1.6 s (145 people walking up, models/README.md): three of
# one moment are hardly more than one. This takes 12 % of the wrong grants away and no right one; .9 s costs residents.
SPAN = 0.6


@dataclass(frozen=True, slots=True)
class Rules:
    """When shots become a decision. Times are seconds of the monotonic clock, similarities cosines."""

    alike: float  # under this two shots are not of one face
    votes: int = 3  # agreeing shots that name a person, and shots that make a stranger
    window: int = 5  # only so many last shots count
    span: float = SPAN  # seconds that the agreeing shots must cover
    margin: float = MARGIN
    stranger_after: float = 3.0  # a face that matches nobody is announced after this, or when it leaves
    reunite: float = 4.0  # a face that comes back within this goes on with its visit
    fresh: float = 1.0  # nobody is named by a shot older than this
    worth: float = 1.5  # a body without a usable face that was seen for less is nobody's business


@dataclass(frozen=True, slots=True)
class Vote:
    """What one shot says. `person` is None for nobody; `ambiguous` shots count for no one."""

    shot: FaceShot
    vector: Array  # (d,) unit length
    person: str | None
    similarity: float
    margin: float
    threshold: float
    ambiguous: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on one visit; there is one for each visit that is worth an event."""

    visit: str
    track: int
    decision: Decision
    reasons: tuple[Reason, ...]
    person: Person | None
    similarity: float | None
    threshold: float | None
    margin: float | None
    shot: FaceShot | None
    frame: Frame


MEMORY = 12  # shots: who stands before the camera for an hour must not fill it with pictures


@dataclass(slots=True, eq=False)
class Visit:
    """One track in front of one camera, until it is decided and gone."""

    track: int
    frame: Frame  # the last one that shows the body
    box: Array
    opened: float
    seen: float
    confirmed: bool = False
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    votes: list[Vote] = field(default_factory=list)  # the last `MEMORY` ones
    best: tuple[Frame, FaceShot] | None = None  # what a snapshot shows
    faced: float = float("inf")  # clock of the first shot
    odd: list[Vote] = field(default_factory=list)  # shots unlike the others, until the next tells which are wrong
    decision: Decision | None = None
    person: str | None = None  # of a granted or denied visit
    held: set[Reason] = field(default_factory=set)  # what kept a matched person from being named
    refused: Reason = Reason.NO_FACE  # why none of its faces was usable, while that is so

    def add(self, vote: Vote, frame: Frame) -> None:
        """Count a shot of this face."""
        self.votes = [*self.votes, vote][-MEMORY:]
        self.faced = min(self.faced, vote.shot.clock)
        if self.best is None or vote.shot.quality.score > self.best[1].quality.score:
            self.best = (frame, vote.shot)

    def centre(self) -> Array:
        """Return the mean of the last shots, (d,), unit length."""
        mean = np.mean([vote.vector for vote in self.votes[-5:]], axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)


class Visits:
    """All visits of one camera."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._open: dict[int, Visit] = {}  # by track
        self._past: list[Visit] = []  # ended less than `reunite` seconds ago
        self._leaving: list[Visit] = []  # ended since the last call of `decide`

    def follow(self, tracks: Sequence[Track], frame: Frame) -> None:
        """Open a visit for each new track and end those whose track is gone."""
        for track in tracks:
            visit = self._open.get(track.id)
            if visit is None:
                visit = self._open[track.id] = Visit(track.id, frame, track.box, frame.clock, frame.clock)
            visit.confirmed |= track.confirmed
            if track.seen == frame.clock:
                visit.frame, visit.box, visit.seen = frame, track.box, frame.clock
        alive = {track.id for track in tracks}
        self._leaving += [self._open.pop(track) for track in list(self._open) if track not in alive]
        self._past = [visit for visit in self._past if frame.clock - visit.seen <= self._rules.reunite]

    def hear(self, frame: Frame, shot: FaceShot, vector: Array, match: Match, threshold: float) -> bool:
        """Add the vote of one shot; return True when the track now shows another face and must be split."""
        visit = self._open[shot.track]
        vote = self._vote(shot, vector, match, threshold)
        if not visit.votes:
            visit.add(vote, frame)
            self._reunite(visit)
        elif float(visit.centre() @ vector) >= self._rules.alike:
            visit.add(vote, frame)
            visit.odd = []
        elif visit.odd and float(visit.odd[-1].vector @ vector) >= self._rules.alike:
            visit.odd.append(vote)
            if len(visit.votes) > 1:
                return True
            visit.votes, visit.odd, visit.best = visit.odd, [], (frame, shot)  # the very first shot was wrong
        else:
            visit.odd = [vote]
        return False

    def doubts(self, track: int) -> bool:
        """Return whether the last shot of a track was unlike the others, so that the next one is wanted at once."""
        return track in self._open and bool(self._open[track].odd)

    def split(self, old: int, new: int) -> None:
        """End the visit of track `old`; the face that replaced it starts track `new` with its own shots alone."""
        visit = self._open.pop(old)
        votes, visit.odd = visit.odd, []
        self._leaving.append(visit)
        self._open[new] = fresh = Visit(new, visit.frame, visit.box, visit.seen, visit.seen, confirmed=True)
        for vote in votes:
            fresh.add(vote, visit.frame)
        self._reunite(fresh)
        fresh.best = (visit.frame, votes[-1].shot)  # the only one of them that is of this frame

    def decide(
        self,
        person: Callable[[str], Person | None],
        groups: frozenset[str],
        now: datetime,
        clock: float,
        *,
        may_grant: bool,
    ) -> list[Verdict]:
        """Return the verdicts that have become due.

        Args:
            person: looks a person up in the gallery as it is now, None when it was erased meanwhile.
            groups: groups that may enter here; empty lets every enrolled person in.
            now: wall clock, for validity.
            clock: monotonic seconds of the frame in hand; who left is not named any more.
            may_grant: False while the gallery may be out of date.
        """
        verdicts: list[Verdict] = []
        for visit in self._open.values():
            verdict = None
            if visit.votes and clock - visit.votes[-1].shot.clock <= self._rules.fresh:
                verdict = self._named(visit, person, groups, now, may_grant=may_grant)
            verdicts += _settle(visit, verdict or self._stranger(visit))
        ended = [visit for visit in self._leaving if visit.votes or visit.confirmed]
        for visit in ended:
            verdicts += _settle(visit, self._last_word(visit))
        self._past += [visit for visit in ended if visit.votes]
        self._leaving = []
        return verdicts

    def standing(self, track: int) -> tuple[Decision | None, str | None]:
        """Return the decision on the visit of a track, None while there is none, and the person's id."""
        visit = self._open.get(track)
        return (None, None) if visit is None else (visit.decision, visit.person)

    def finish(self) -> None:
        """End every open visit: the camera is lost or the worker stops. `decide` then has the last word on them."""
        self._leaving += self._open.values()
        self._open = {}

    def _vote(self, shot: FaceShot, vector: Array, match: Match, threshold: float) -> Vote:
        known = match.person is not None and match.similarity >= threshold
        ambiguous = known and match.margin < self._rules.margin
        name = match.person.id if known and not ambiguous and match.person is not None else None
        return Vote(shot, vector, name, match.similarity, match.margin, threshold, ambiguous)

    def _reunite(self, visit: Visit) -> None:
        """Go on with the visit of a face that was lost from sight for a moment: it has had its event."""
        for past in self._past:
            first = visit.votes[0]
            if float(past.centre() @ first.vector) >= first.threshold:
                visit.id, visit.opened, visit.decision, visit.person = past.id, past.opened, past.decision, past.person
                visit.votes = [*past.votes, *visit.votes][-MEMORY:]
                self._past.remove(past)
                return

    def _named(
        self,
        visit: Visit,
        person: Callable[[str], Person | None],
        groups: frozenset[str],
        now: datetime,
        *,
        may_grant: bool,
    ) -> Verdict | None:
        if visit.decision in (Decision.GRANTED, Decision.DENIED):
            return None
        recent = [vote for vote in visit.votes if not vote.ambiguous][-self._rules.window :]
        counts = Counter(vote.person for vote in recent if vote.person is not None)
        if len(counts) != 1:
            return None
        ((name, count),) = counts.items()
        agreeing = [vote for vote in recent if vote.person == name]
        found = person(name)
        if count < self._rules.votes or _span(agreeing) < self._rules.span or found is None:
            return None
        if self._elsewhere(visit, name):
            visit.held.add(Reason.ELSEWHERE_IN_PICTURE)
            return None
        if not may_grant:
            visit.held.add(Reason.GALLERY_STALE)
            return None
        if visit.decision is not None:  # recognised late: a visit of its own, for the first has had its event
            visit.id = secrets.token_hex(8)
        reason = _refusal(found, groups, now)
        decision = Decision.DENIED if reason else Decision.GRANTED
        return _verdict(visit, decision, (reason or Reason.MATCHED,), agreeing, found)

    def _elsewhere(self, visit: Visit, name: str) -> bool:
        """Whether `name` is another body at this door: decided already, or the better match of the two.

        Also one that this very frame does not show: the net misses bodies, and the tracker forgets those who left.
        """
        for other in self._open.values():
            if other.track == visit.track:
                continue
            if other.person == name or _support(other, name) > _support(visit, name):
                return True
        return False

    def _stranger(self, visit: Visit) -> Verdict | None:
        """Announce a face that clearly matches nobody while it is still there."""
        votes = visit.votes
        if visit.decision is not None or len(votes) < self._rules.window:
            return None
        if visit.seen - visit.faced < self._rules.stranger_after or any(
            vote.person is not None or vote.ambiguous for vote in votes
        ):
            return None  # it may yet be somebody: wait for the end
        return _verdict(visit, Decision.UNKNOWN, (Reason.BELOW_THRESHOLD,), votes)

    def _last_word(self, visit: Visit) -> Verdict | None:
        """Say what can be said of a visit that ended without a decision."""
        votes = visit.votes
        if visit.decision is not None:
            return None
        if not votes:
            if visit.seen - visit.opened < self._rules.worth:
                return None
            return _verdict(visit, Decision.UNDECIDED, (visit.refused,), [])
        named = sum(vote.person is not None for vote in votes)
        ambiguous = sum(vote.ambiguous for vote in votes)
        strangers = len(votes) - named - ambiguous
        if strangers >= self._rules.votes and named + ambiguous <= strangers // self._rules.votes:
            return _verdict(visit, Decision.UNKNOWN, (Reason.BELOW_THRESHOLD,), votes)
        reasons = set(visit.held)
        if ambiguous:
            reasons.add(Reason.AMBIGUOUS)
        if named and strangers:
            reasons.add(Reason.VOTES_DISAGREE)
        return _verdict(visit, Decision.UNDECIDED, tuple(sorted(reasons)) or (Reason.TOO_FEW_SHOTS,), votes)

    def note(self, track: int, reason: Reason) -> None:
        """Remember why a face of this track could not be used; it explains an undecided visit."""
        if track in self._open:
            self._open[track].refused = reason


def _settle(visit: Visit, verdict: Verdict | None) -> list[Verdict]:
    """Write the verdict down at once, so that the next visit sees who is already in the picture."""
    if verdict is None:
        return []
    visit.decision = verdict.decision
    visit.person = verdict.person.id if verdict.person else None
    return [verdict]


def _support(visit: Visit, name: str) -> float:
    """Return the mean similarity of the visit's last shots that vote for `name`, 0 when none does."""
    found = [vote.similarity for vote in visit.votes[-5:] if vote.person == name]
    return float(np.mean(found)) if found else 0.0


def _span(votes: Sequence[Vote]) -> float:
    """Return the seconds between the first and the last of some votes."""
    return votes[-1].shot.clock - votes[0].shot.clock


def _refusal(person: Person, groups: frozenset[str], now: datetime) -> Reason | None:
    """Return why this person may not enter here and now, None when he may."""
    if person.valid_from is not None and now < person.valid_from:
        return Reason.NOT_YET_VALID
    if person.valid_until is not None and now >= person.valid_until:
        return Reason.EXPIRED
    if groups and not groups & person.groups:
        return Reason.GROUP_NOT_ALLOWED
    return None


def _verdict(
    visit: Visit, decision: Decision, reasons: tuple[Reason, ...], votes: Iterable[Vote], person: Person | None = None
) -> Verdict:
    """Sum the votes up: mean similarity and margin, the picture of the best shot."""
    votes = list(votes)
    frame, shot = visit.best or (visit.frame, None)
    if not votes:
        return Verdict(visit.id, visit.track, decision, reasons, None, None, None, None, shot, frame)
    similarity = float(np.mean([vote.similarity for vote in votes]))
    margin = float(np.mean([vote.margin for vote in votes]))
    threshold = votes[-1].threshold
    return Verdict(visit.id, visit.track, decision, reasons, person, similarity, threshold, margin, shot, frame)
