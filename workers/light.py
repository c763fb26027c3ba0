"""Light decoding: while nothing moves before a camera, only its key frames are decoded and the others are kept.

Key frames go through the gate, but for those within `SPARSE` of the last one that did, so nobody is overlooked for
longer than that and one group of pictures, whatever packets tell. When sizes grow, or a key frame shows that something
moves, the packets since the last key frame are decoded in order; the pictures are then those of a decoder that never
rested.

A stream is decoded whole while its packets cannot be relied upon: few still groups known, sizes that vary much in
stillness, key frames far apart, pictures that come in another order than packets, a codec whose key frames we cannot
tell; also when a group takes long to decode, for whoever wakes the decoder waits for all of it. A codec that has
nothing but key frames is decoded at the rate of analysis, always.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from workers.attention import Attention, Judgement
from workers.packets import Group, PacketWatch, Trust, stands_alone
from workers.sampling import Counters

CALM = 8.0  # seconds since anybody was followed: every visit has had its last word then (a face may return for 4 s)
REST = 3.0  # seconds that the gate must be shut and packets must tell of nothing
SPARSE = 1.5  # seconds after a key frame that was decoded in which the next ones are not, while resting
FARTHEST = 4.2  # seconds between key frames: 100 pictures at 25 a second, and nobody has left a door again within them
GAPS = 8  # distances between key frames that are remembered
MOST_PACKETS, MOST_BYTES = 256, 4 << 20  # that are kept: 4 s of 60 pictures a second, or of 8 Mbit/s
MOST_CATCH_UP = 0.3  # seconds of CPU that decoding what was kept may take; several cameras may wake at once
SMOOTHING = 0.02  # weight of a packet in the mean cost of decoding one: the last 50 count
HEAD = 4096  # bytes of a packet within which its first slice begins
BEFORE, AFTER = 3.0, 1.0  # seconds around the opening of the gate in which packets should tell of a visit
PROMPT = 0.6  # seconds within which packets tell of somebody who moves (at most .56 in 14 visits, groups of 1 s)


@dataclass(frozen=True, slots=True)
class Experience:
    """What is known of a camera. It outlives sessions; but for `attention`, only the thread that reads touches it."""

    attention: Attention
    watch: PacketWatch = field(default_factory=PacketWatch)
    trust: Trust = field(default_factory=Trust)


class LightDecoding:
    """Chooses, packet by packet, what one session decodes.

    The demuxer hands a packet over when the next one begins, and the decoder a picture with its packet, so the key
    frames of a camera at rest are analysed as soon as any other frame is.
    """

    def __init__(
        self,
        context: VideoCodecContext,
        experience: Experience,
        counters: Counters,
        due: Callable[[float], bool],
    ) -> None:
        """Begin with everything.

        Args:
            context: the decoder.
            experience: what the analysis has seen, and what former sessions have learnt.
            counters: raised as packets are passed over.
            due: tells whether a picture of this monotonic time would be analysed.
        """
        self._codec = context.name
        self._intra = context.codec.intra_only
        self._attention = experience.attention
        self._watch, self._trust = experience.watch, experience.trust
        self._counters = counters
        self._due = due
        self._resting = False
        self._kept: list[Packet[VideoStream]] = []  # since the last key frame, while resting; that too if passed over
        self._bytes = 0  # of those kept
        self._key_at = float("-inf")  # when the last key frame came
        self._seen_at = float("-inf")  # when the last one came that was decoded
        self._began = float("inf")  # when the first one came
        self._gaps: deque[float] = deque(maxlen=GAPS)  # seconds between key frames
        self._cost = 0.0  # mean CPU seconds to decode a packet that is no key frame
        self._whole = False  # the last key frame's picture came with its packet, undamaged
        self._unusual = float("-inf")  # when packets last told that something moves
        self._waiting: tuple[Group, float, float] | None = None  # a group, its begin and end, not known to be still yet
        self._visit: float | None = None  # opening of the last visit that packets were asked about
        self._found: float | None = None  # opening of the last visit that came during a rest, packets silent
        self._watch.begin()

    @property
    def resting(self) -> bool:
        """Whether nothing but key frames is decoded."""
        return self._resting

    def choose(self, packet: "Packet[VideoStream]", clock: float) -> "list[Packet[VideoStream]]":
        """Return the packets to be decoded now that this one has come: none, itself, or those kept and itself."""
        if not packet.size:  # the end of the stream
            return [packet]
        if self._intra:
            return self._if_due(packet, clock)
        judgement = self._attention.judgement
        if self._resting and judgement is not None:
            self._found = judgement.opened_at
        if packet.is_keyframe and stands_alone(self._codec, bytes(memoryview(packet)[:HEAD])):
            self._begin_group(packet.size, clock, judgement)
            return self._if_needed(packet, clock)
        told = self._watch.other(packet.size)
        if told:
            self._unusual = clock
        if judgement is not None:
            self._ask_about(judgement, clock, told)
        if not self._resting:
            return [packet]
        self._keep(packet)
        if not told and self._may_go_on(judgement, clock):
            return []
        self._counters.woken += told
        self._resting = False
        return self._let_go()

    def decoded(self, packet: "Packet[VideoStream]", frames: list[VideoFrame], seconds: float) -> None:
        """Note what the decoder returned for a packet that was chosen, and the CPU time that it took."""
        if not packet.is_keyframe:
            self._cost += SMOOTHING * (seconds - self._cost)
        else:
            self._whole = len(frames) == 1 and frames[0].key_frame and not frames[0].is_corrupt

    def _if_due(self, packet: "Packet[VideoStream]", clock: float) -> "list[Packet[VideoStream]]":
        if self._due(clock):
            return [packet]
        self._counters.skipped += 1
        return []

    def _if_needed(self, packet: "Packet[VideoStream]", clock: float) -> "list[Packet[VideoStream]]":
        """Return the key frame that has just come, unless another was looked at lately and a still scene rests."""
        if self._resting and clock - self._seen_at < SPARSE:
            self._keep(packet)
            return []
        self._seen_at = clock
        return [packet]

    def _keep(self, packet: "Packet[VideoStream]") -> None:
        self._kept.append(packet)
        self._bytes += packet.size

    def _let_go(self) -> "list[Packet[VideoStream]]":
        kept, self._kept, self._bytes = self._kept, [], 0
        return kept

    def _begin_group(self, size: int, clock: float, judgement: Judgement | None) -> None:
        ended = self._watch.key(size)
        if self._waiting is not None and _still(judgement, *self._waiting[1:]):
            self._watch.learn(self._waiting[0])
        self._waiting = (ended, self._key_at, clock)
        self._counters.skipped += len(self._let_go())
        self._gaps.append(clock - self._key_at)
        self._began = min(self._began, clock)
        self._resting = self._may_rest(judgement, clock, len(ended.sizes))
        self._key_at = clock

    def _may_rest(self, judgement: Judgement | None, clock: float, length: int) -> bool:
        """Tell whether what follows the key frame that has just come, some `length` packets, need not be decoded."""
        return (
            judgement is not None
            and judgement.shut_since is not None
            and clock - judgement.people_at >= CALM
            and clock - max(judgement.shut_since, self._unusual) >= REST
            and judgement.clock >= self._seen_at  # the analysis keeps up
            and not self._attention.looked_at()
            and self._whole
            and length * self._cost <= MOST_CATCH_UP
            and max(self._gaps) <= FARTHEST
            and self._watch.usable
            and self._trust.given(clock, self._watch.lively)
        )

    def _may_go_on(self, judgement: Judgement | None, clock: float) -> bool:
        """Tell whether the packet that was kept last need not be decoded either."""
        return (
            judgement is not None
            and judgement.shut_since is not None
            and not self._attention.looked_at()
            and self._whole
            and len(self._kept) * self._cost <= MOST_CATCH_UP
            and clock - self._seen_at <= FARTHEST
            and len(self._kept) < MOST_PACKETS
            and self._bytes < MOST_BYTES
        )

    def _ask_about(self, judgement: Judgement, clock: float, told: bool) -> None:
        """Find out, once for each visit, whether packets told of it.

        A key frame may come before they can have told. If they do so in time after it, the visit says nothing of them.
        """
        opened = judgement.opened_at
        if opened is None or opened == self._visit:
            return
        if told and opened == self._found and clock <= opened + PROMPT:
            self._visit = opened
            return
        if not judgement.person_seen or clock < opened + AFTER:
            return
        self._visit = opened
        if opened <= self._began or not self._watch.usable:
            return
        if opened != self._found and self._unusual >= opened - BEFORE:
            self._trust.confirm()
        else:
            self._counters.missed_by_packets += 1
            self._trust.lose(clock)


def _still(judgement: Judgement | None, begin: float, end: float) -> bool:
    """Tell whether everything that was analysed from `begin` to `end` was still."""
    return (
        judgement is not None
        and judgement.shut_since is not None
        and judgement.shut_since <= begin
        and judgement.clock >= end
    )
