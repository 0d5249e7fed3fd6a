"""Networks with every part, small enough to run in a millisecond."""

from __future__ import annotations

from posecli.encoder import EncoderConfig
from posecli.pose.config import PoseConfig

ENCODER = EncoderConfig(widths=(16, 16, 16, 16), depths=(1, 1, 1, 1), out_channels=16, stem_channels=8)
POSE = PoseConfig(
    encoder=ENCODER,
    crop_hw=(64, 32),
    num_frames=5,
    d_model=16,
    num_global_blocks=1,
    num_local_blocks=1,
    d_state=2,
    dt_rank=2,
    window_hw=(8, 8),
    merge_width=4,
)
