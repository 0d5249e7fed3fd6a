"""GLSMamba's settings: one frozen dataclass, and the named configs.

Where the paper is silent the field says so ("open") and names our choice; PAPERS in the docstrings means arXiv 2510.11017 as read by
secondary sources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from posecli.encoder import EncoderConfig
from posecli.errors import ConfigError
from posecli.mobile_encoder import MobileEncoderConfig
from posecli.ssm.orders import SCAN_TYPES, ScanType
from posecli.weights.fitting import config_values

Shown = Literal["person", "head"]
_MAX_TOKENS = 2**17  # the paper's windows have 15,360


@dataclass(frozen=True)
class ViTPoseConfig:
    """ViTPose encoder: patch 16 with padding 2, pre-norm transformer, two stride-2 deconvolutions to 1/4 (ViTPose classic head)."""

    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    out_channels: int = 256
    patch_size: int = 16

    def __post_init__(self) -> None:
        if self.embed_dim % self.num_heads:
            raise ConfigError(f"embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}")


Encoder = EncoderConfig | MobileEncoderConfig | ViTPoseConfig
_ENCODER_KINDS: Mapping[str, type[Encoder]] = MappingProxyType(
    {"compact": EncoderConfig, "mobile": MobileEncoderConfig, "vitpose": ViTPoseConfig}
)


@dataclass(frozen=True)
class PoseConfig:
    """Everything that defines a GLSMamba network.

    Attributes:
        encoder: The compact or the mobile encoder (trained), or ViTPose (frozen, as in the paper).
        crop_hw: Input crop (height, width), px. Paper: 256 x 192.
        num_frames: T, frames a window. Paper: 5.
        d_model: D, token width. Open in the paper; 256 fits its parameter budget.
        num_global_blocks: GSM blocks. Paper: 4.
        num_local_blocks: LRM blocks, after all GSM blocks. Paper: 2.
        d_state: N, state size. Open; 16 is the Mamba default.
        dt_rank: R. Open; D / 16.
        expand: Inner width over D. Open; 1 fits the budget.
        ffn_ratio: Hidden width of the feed-forward network over D. Open; 2 fits the budget.
        scan_types: Scan types of STS6D. Paper: all three; fewer for ablations.
        scan_reading: ``R``: scans k and k+3 are a forward/reverse pair. ``V``: the fourth is column-major instead. Open; R.
        merge: ``modulated`` is the paper's STMM; ``sum`` its ablation by plain addition.
        merge_width: Tokens' channels that predict offsets and masks (0: all D). Open.
        window_hw: LRM tubes, tokens. Paper: 8 x 6 (x T).
        reset_state_at_window: Whether the state of LRM's scan starts afresh in each tube. Paper: carried on (sequence-size reach).
        has_channel_attention: Sequential channel attention in GSM. Paper: yes.
        attention_ratio: Hidden width of its MLP over T * D. Open; 1/2 fits the budget.
        drop_path: Rate at the last block, linear over the blocks. Open.
        num_keypoints: Heatmaps. 19: COCO's 17, neck, head_top.
        is_encoder_frozen: Whether the encoder trains. Paper: frozen.
        shows: What crops are cut around: a person (paper), or a head (`posecli.pose.heads`), of which only its points are estimated.
    """

    encoder: Encoder = field(default_factory=EncoderConfig)
    crop_hw: tuple[int, int] = (256, 192)
    num_frames: int = 5
    d_model: int = 256
    num_global_blocks: int = 4
    num_local_blocks: int = 2
    d_state: int = 16
    dt_rank: int = 16
    expand: int = 1
    ffn_ratio: float = 2.0
    scan_types: tuple[ScanType, ...] = SCAN_TYPES
    scan_reading: Literal["R", "V"] = "R"
    merge: Literal["modulated", "sum"] = "modulated"
    merge_width: int = 0
    window_hw: tuple[int, int] = (8, 6)
    reset_state_at_window: bool = False
    has_channel_attention: bool = True
    attention_ratio: float = 0.5
    drop_path: float = 0.0
    num_keypoints: int = 19
    is_encoder_frozen: bool = False
    shows: Shown = "person"

    def __post_init__(self) -> None:
        if [len(self.crop_hw), len(self.window_hw)] != [2, 2] or min(*self.crop_hw, *self.window_hw) < 1:
            raise ConfigError(
                f"crop_hw {self.crop_hw} and window_hw {self.window_hw} must be a height and a width each"
            )
        multiple = 16 if isinstance(self.encoder, ViTPoseConfig) else 32
        if any(side % multiple for side in self.crop_hw):
            raise ConfigError(f"crop_hw {self.crop_hw} must be multiples of {multiple}")
        if any(tokens % side for tokens, side in zip(self.grid_hw, self.window_hw, strict=True)):
            raise ConfigError(f"window_hw {self.window_hw} must divide the grid of tokens {self.grid_hw}")
        if self.d_inner % 16:
            raise ConfigError(f"d_model * expand is {self.d_inner}, it must be a multiple of 16")
        if not self.scan_types or any(kind not in SCAN_TYPES for kind in self.scan_types):
            raise ConfigError(f"scan_types {self.scan_types} must be some of {', '.join(SCAN_TYPES)}")
        if self.shows not in get_args(Shown):
            raise ConfigError(f"shows {self.shows!r} is not one of {', '.join(get_args(Shown))}")
        if self.num_frames < 1 or self.num_keypoints < 1:
            raise ConfigError("num_frames and num_keypoints must be positive")
        if (num_tokens := self.num_frames * math.prod(self.grid_hw)) > _MAX_TOKENS:
            raise ConfigError(f"a window of {num_tokens} tokens, more than the {_MAX_TOKENS} that are accepted")

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Tokens of one frame (height, width): a quarter of the crop."""
        return self.crop_hw[0] // 4, self.crop_hw[1] // 4

    @property
    def d_inner(self) -> int:
        """E, the width inside the scans."""
        return self.d_model * self.expand

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        content = asdict(self)
        content["encoder"]["kind"] = next(name for name, kind in _ENCODER_KINDS.items() if type(self.encoder) is kind)
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PoseConfig:
        """Read a config from the metadata of a weights file.

        Raises:
            ConfigError: A key is unknown or a value does not fit.
        """
        values = config_values("pose config", cls, content)
        described = values.pop("encoder", {})
        if not isinstance(described, Mapping):
            raise ConfigError("pose config: encoder is not an object of settings")
        encoder = dict(described)
        kind = _ENCODER_KINDS.get(str(encoder.pop("kind", "compact")))
        if kind is None:
            raise ConfigError("pose config: unknown encoder kind", hint=f"one of {', '.join(_ENCODER_KINDS)}")
        return cls(encoder=kind(**config_values("pose config: encoder", kind, encoder)), **values)


_PAPER = PoseConfig(encoder=ViTPoseConfig(), is_encoder_frozen=True)

_SMALL = PoseConfig(
    encoder=MobileEncoderConfig(width=1.75),
    crop_hw=(192, 160),
    d_model=64,
    num_global_blocks=2,
    num_local_blocks=1,
    d_state=4,
    dt_rank=4,
    window_hw=(8, 8),
    merge_width=16,
)

POSE_CONFIGS: Mapping[str, PoseConfig] = MappingProxyType(
    {
        "glsmamba-b": _PAPER,
        "glsmamba-h": replace(_PAPER, encoder=ViTPoseConfig(embed_dim=1280, depth=32, num_heads=16)),
        "glsmamba-m": replace(_SMALL, crop_hw=(256, 192)),
        "glsmamba-s": _SMALL,
        "glsmamba-xs": replace(
            _SMALL, encoder=MobileEncoderConfig(width=1.0), crop_hw=(192, 160), d_model=48, num_global_blocks=1
        ),
        "glsmamba-head": replace(
            _SMALL,
            encoder=MobileEncoderConfig(width=1.0),
            crop_hw=(96, 96),
            d_model=48,
            num_global_blocks=1,
            shows="head",
        ),
    }
)


def get_pose_config(name: str) -> PoseConfig:
    """The config of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in POSE_CONFIGS:
        raise ConfigError(f"unknown pose config {name!r}", hint=f"one of {', '.join(POSE_CONFIGS)}")
    return POSE_CONFIGS[name]
