"""What the sizes of a camera's packets tell of its picture before anything is decoded.

An encoder of even quality spends bits on what changes, so a still scene has small packets between its key frames and
whoever walks in makes them grow at once. How small and how even they are depends on camera, scene, noise and hour, so
it is learnt from groups of pictures (one key frame and what builds on it) that the analysis found still.
"""

from collections import deque
from dataclasses import dataclass
from math import exp, log
from statistics import median

import numpy as np

# Chosen on films made for it: walkers before a textured hallway, 640x360 at 12.5 pictures a second, noise of 1, 2.5 and
# 5 grey levels, constant quality (crf 20 to 26), average, capped and constant bit rates.
GROUPS = 32  # still groups that are remembered; what is older is forgotten
LEAST_GROUPS = 8  # before sizes are compared at all, and again as many before the comparison is relied upon
RENEWAL = 4  # groups after which what is usual is learnt anew: it takes as long as ten packets
PADDING = 100  # bytes: a packet that says "nothing new" has some 20 to 200, and differences among those mean nothing
LEAST_SCALE = 0.05  # of the logarithm: no encoder is evener
MOST_SCALE = 0.25  # an encoder that varies more in stillness hides a visitor who comes
DRIFT = 1.0  # deviations by which a packet may be too large without counting
OUTLIER = 6.0  # deviations, the most that one packet counts for
LEAST_LEVEL = 8.0  # deviations in sum
MOST_LEVEL = 40.0  # a visitor gets there within half a second; a stream that needs more is not relied upon
ABOVE_STILLNESS = 1.5  # the level lies so far above what stillness reaches ...
MOST_GROUPS = 0.9  # ... in so many groups; the others may wake the decoder, which costs a moment's work
KEY_RATIO = 20.0  # key frame to other packets: a constant bit rate, or noise that is sent in full, leaves less
TOLD = 3  # visits in a row of which packets told: those of a constant bit rate do so by chance once in a while
SILENCED = 900.0  # seconds, the first time
SILENCED_AT_MOST = 86_400.0

_UNIT_STARTS = {  # codec -> (right shift and mask of the type in a unit's first byte, types that need nothing before)
    "h264": (0, 0x1F, frozenset({5})),  # IDR (ITU-T H.264, table 7-1)
    "hevc": (1, 0x3F, frozenset({19, 20, 21})),  # IDR and clean random access (ITU-T H.265, table 7-1)
}


def stands_alone(codec: str, head: bytes) -> bool:
    """Tell from the first bytes of a packet (Annex B) whether decoding may begin here and owe nothing to the past.

    What FFmpeg calls a key frame may also be a point from which the picture is whole some frames later.
    """
    if codec not in _UNIT_STARTS:
        return False
    shift, mask, alone = _UNIT_STARTS[codec]
    return any(unit and unit[0] >> shift & mask in alone for unit in head.split(b"\0\0\1")[1:])


@dataclass(frozen=True, slots=True)
class Group:
    """One group of pictures as the watch saw it."""

    key: int  # bytes of its key frame, 0 when that was not seen
    sizes: tuple[float, ...]  # logarithms of the padded sizes of the others, in the order in which they came
    peak: float  # the highest sum, in deviations


class PacketWatch:
    """Compares the packets of one camera with those of its still groups.

    The logarithm of a size is compared with the median of the packets at the same place of their groups, in units of
    the median absolute deviation; a cumulative sum of what is more than `DRIFT` (Page, "Continuous inspection schemes",
    Biometrika 41, 1954) reaches a level after two huge packets, or many that are a little too large. The level lies
    above what still groups have reached.
    """

    def __init__(self) -> None:
        self._groups: deque[list[float]] = deque(maxlen=GROUPS)
        self._keys: deque[int] = deque(maxlen=GROUPS)  # bytes
        self._peaks: deque[float] = deque(maxlen=GROUPS)  # highest sum in each still group
        self._learnt = 0  # still groups so far
        self._usual: list[float] = []  # by place in the group
        self._scale = LEAST_SCALE
        self._level = LEAST_LEVEL
        self.begin()

    def begin(self) -> None:
        """Expect a key frame: a session begins."""
        self._key = 0
        self._group: list[float] = []
        self._sum = self._peak = 0.0

    @property
    def usable(self) -> bool:
        """Whether enough still groups are known, and are even enough for a visitor to stand out."""
        return len(self._peaks) >= LEAST_GROUPS and self._scale <= MOST_SCALE and self._level <= MOST_LEVEL

    @property
    def lively(self) -> bool:
        """Whether key frames are so much larger than the rest that sizes must follow what changes."""
        return bool(self._usual) and median(self._keys) >= KEY_RATIO * (exp(median(self._usual)) - PADDING)

    def key(self, size: int) -> Group:
        """Take the size in bytes of a key frame and return the group that it ends."""
        ended = Group(self._key, tuple(self._group), self._peak)
        self._key, self._group, self._sum, self._peak = size, [], 0.0, 0.0  # the key frame itself is looked at
        return ended

    def other(self, size: int) -> bool:
        """Take the size in bytes of any other packet; return whether something moves."""
        value = log(size + PADDING)
        self._group.append(value)
        if not self._usual:
            return False
        usual = self._usual[min(len(self._group), len(self._usual)) - 1]
        above = min((value - usual) / self._scale, OUTLIER) - DRIFT
        self._sum = min(max(self._sum + above, 0.0), 2 * self._level)  # or it would take long to come down again
        self._peak = max(self._peak, self._sum)
        return self._sum >= self._level

    def learn(self, group: Group) -> None:
        """Take a group during which the analysis saw nothing move."""
        if not group.key or not group.sizes:
            return
        if self._usual:
            self._peaks.append(group.peak)
        self._groups.append(list(group.sizes))
        self._keys.append(group.key)
        self._learnt += 1
        if self._learnt >= LEAST_GROUPS and self._learnt % RENEWAL == 0:
            self._fit()

    def _fit(self) -> None:
        length = int(median(len(group) for group in self._groups))
        sizes = np.array([(group + group[-1:] * length)[:length] for group in self._groups], np.float32)
        usual = np.median(sizes, axis=0)
        self._usual = usual.tolist()
        self._scale = max(1.4826 * float(np.median(np.abs(sizes - usual))), LEAST_SCALE)
        peak = float(np.quantile(self._peaks, MOST_GROUPS)) if self._peaks else 0.0
        self._level = max(ABOVE_STILLNESS * peak, LEAST_LEVEL)


class Trust:
    """Whether the packets of a camera may be relied upon, by what they have told so far of those who came.

    Until somebody came, a stream that cannot be of constant bit rate is presumed to tell. One that kept silent once is
    not relied upon for a while, each time twice as long, nor before it has told of several visits in a row.
    """

    def __init__(self) -> None:
        self._told = 0  # visits in a row
        self._silence = SILENCED / 2  # seconds, of the last penalty
        self._silent = False
        self._until = float("-inf")

    def confirm(self) -> None:
        """Note that packets told of somebody who came."""
        self._told += 1

    def lose(self, clock: float) -> None:
        """Note that they did not, at this monotonic time."""
        self._told, self._silent = 0, True
        self._silence = min(2 * self._silence, SILENCED_AT_MOST)
        self._until = clock + self._silence

    def given(self, clock: float, presumed: bool) -> bool:
        """Tell whether packets may be relied upon now; `presumed`: sizes look as if they followed the picture."""
        return clock >= self._until and (self._told >= TOLD or (presumed and not self._silent))
