"""PoseMamba's settings: one frozen dataclass, and the named configs.

Everything about the authors' network is as their code has it (arXiv 2408.03540, v2); where posecli's own lifter differs, the field
says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from posecli.errors import ConfigError
from posecli.skeletons import H36M17
from posecli.weights.fitting import config_values

ScanOrder = Literal["global-local", "bidirectional", "unidirectional"]
Normalisation = Literal["person", "image"]
LANES = 16


@dataclass(frozen=True)
class LiftConfig:
    """Everything that defines a PoseMamba network and what its numbers mean.

    Attributes:
        d_model: C, token width.
        depth: Pairs of blocks; a network has twice as many.
        in_channels: 2: x and y of each joint. 3: its score besides (not in the paper).
        max_frames: F up to which there are position embeddings; longer clips are interpolated from them.
        d_state: N, state size.
        expand: Inner width over C.
        mlp_ratio: Hidden width of the feed-forward network over C.
        drop_path: Rate at the last pair, linear over the pairs.
        scan: ``global-local`` is the paper's; ``bidirectional`` leaves out the local order; ``unidirectional`` scans forwards only,
            every order twice, so that the parameters stay as many (both the paper's ablations).
        match_official_gradient: Whether the local order's part takes no gradient, as in the authors' code.
        normalisation: ``image``: x and y over half the picture's width, as the authors'. ``person``: about the root, over the
            person's size in the clip, so that neither the place in the picture nor its size matter (posecli's own).
    """

    d_model: int = 64
    depth: int = 10
    in_channels: int = 2
    max_frames: int = 243
    d_state: int = 16
    expand: int = 2
    mlp_ratio: float = 2.0
    drop_path: float = 0.2
    scan: ScanOrder = "global-local"
    match_official_gradient: bool = False
    normalisation: Normalisation = "image"

    def __post_init__(self) -> None:
        if self.d_inner % LANES or min(self.d_model, self.depth, self.max_frames, self.d_state) < 1:
            raise ConfigError(
                f"lifter of width {self.d_model}, depth {self.depth}, {self.max_frames} frames and state {self.d_state}",
                hint=f"all positive, width times expand a multiple of {LANES}",
            )
        if self.in_channels not in (2, 3):
            raise ConfigError(f"lifter: in_channels is {self.in_channels}, it must be 2 or 3")
        if self.scan not in get_args(ScanOrder):
            raise ConfigError(f"lifter: scan {self.scan!r} is not one of {', '.join(get_args(ScanOrder))}")
        if self.normalisation not in get_args(Normalisation):
            raise ConfigError(
                f"lifter: normalisation {self.normalisation!r} is not one of {', '.join(get_args(Normalisation))}"
            )

    @property
    def num_joints(self) -> int:
        """J."""
        return len(H36M17)

    @property
    def d_inner(self) -> int:
        """E, the width inside the scans."""
        return self.d_model * self.expand

    @property
    def dt_rank(self) -> int:
        """R, the rank of the step size."""
        return -(-self.d_model // 16)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LiftConfig:
        """Read a config from the metadata of a weights file.

        Raises:
            ConfigError: A key is unknown or a value does not fit.
        """
        return cls(**config_values("lifter config", cls, content))


_SMALL = LiftConfig()

LIFT_CONFIGS: Mapping[str, LiftConfig] = MappingProxyType(
    {
        "posemamba-s": _SMALL,
        "posemamba-b": replace(_SMALL, d_model=128),
        "posemamba-l": replace(_SMALL, d_model=128, depth=20),
        "posemamba-x": replace(_SMALL, d_model=256, depth=20),
        "posecli-lifter": replace(
            _SMALL, d_model=128, depth=3, d_state=8, in_channels=3, drop_path=0.0, normalisation="person"
        ),
    }
)


def get_lift_config(name: str) -> LiftConfig:
    """The config of that name.

    Raises:
        ConfigError: There is none.
    """
    if name not in LIFT_CONFIGS:
        raise ConfigError(f"unknown lifter {name!r}", hint=f"one of {', '.join(LIFT_CONFIGS)}")
    return LIFT_CONFIGS[name]
