"""The endless programme of a camera: one clip over and over, with time that only goes forward."""

from dataclasses import dataclass

from workers.simulator.clip import AccessUnit, Clip


@dataclass(frozen=True, slots=True)
class Timeline:
    """Positions count units for ever; ticks count the RTP clock since the camera was started."""

    clip: Clip
    position: int = 0  # of the clip's first unit
    ticks: int = 0  # at which that unit is due

    def at(self, ticks: int) -> int:
        """Return the last position due at this time, at least that of the first unit."""
        rounds, rest = divmod(max(0, ticks - self.ticks), self.clip.duration)
        return self.position + rounds * len(self.clip.units) + self.clip.index_at(rest)

    def unit(self, position: int) -> tuple[AccessUnit, int]:
        """Return the unit at a position and the ticks at which its round began."""
        rounds, index = divmod(position - self.position, len(self.clip.units))
        return self.clip.units[index], self.ticks + rounds * self.clip.duration

    def due(self, position: int) -> int:
        """Return the ticks at which a position is sent."""
        unit, start = self.unit(position)
        return start + unit.due

    def key(self, position: int) -> int:
        """Return the position of the key frame that a position builds on."""
        index = (position - self.position) % len(self.clip.units)
        return position - index + self.clip.key_at(index)

    def followed_by(self, clip: Clip, ticks: int) -> "Timeline":
        """Return the programme that goes on with another clip after what is due at these ticks."""
        position = self.at(ticks) + 1
        return Timeline(clip, position, self.due(position))
