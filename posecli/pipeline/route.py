"""Which frames each chunk of a video needs, is responsible for, and looks at for people."""

from __future__ import annotations

from dataclasses import dataclass

from posecli.pose.windows import WindowPlan
from posecli.records import IntArray


@dataclass(frozen=True)
class Route:
    """The way through a video, chunk by chunk; a chunk is what one window is responsible for.

    Attributes:
        plan: The windows.
        first_frame: Index of the first frame to annotate.
        look_every: The detector looks at every so manieth chunk.
    """

    plan: WindowPlan
    first_frame: int
    look_every: int

    def window(self, chunk: int) -> IntArray:
        """(T,) frames of the chunk's window; may lie outside the video."""
        return self.plan.frames(chunk) + self.first_frame

    def own(self, chunk: int) -> range:
        """The frames the chunk is responsible for, as far as the video has them."""
        start = self.first_frame + chunk * self.plan.hop
        return range(start, start + self.plan.hop)

    def last_needed(self, chunk: int) -> int:
        """The last frame to decode for the chunk: its window's, or the first one after it, which tells whether the video goes on."""
        return max(int(self.window(chunk)[-1]), self.own(chunk).stop)

    def first_needed(self, chunk: int) -> int:
        """The first frame that the chunk's window needs."""
        return max(self.first_frame, self.own(chunk).start - self.plan.num_before)

    def is_look_due(self, chunk: int) -> bool:
        """Whether the detector looks at the chunk."""
        return chunk % self.look_every == 0

    def key(self, chunk: int) -> int:
        """The frame it looks at, where the video is long enough."""
        return self.first_frame + self.plan.centre(chunk)

    def is_look(self, frame: int) -> bool:
        """Whether the frame is one that the detector looks at (where the video ends, it may look at another one)."""
        chunk = (frame - self.first_frame) // self.plan.hop
        return frame == self.key(chunk) and self.is_look_due(chunk)
