"""What a stage trains: the encoder under a throw-away head, or the whole network.

Both map batches (B, T, 3, H, W) to heatmaps (B, T, K, H/4, W/4). The encoder sees all frames of a step at once, those of windows and
single ones: norms that saw one kind at a time would learn, while they train, what neither kind is like later.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from posecli.encoder import LadderEncoder, normalise_images
from posecli.errors import ConfigError
from posecli.pose.config import PoseConfig, ViTPoseConfig
from posecli.pose.network import PoseNetwork, build_encoder
from posecli.training.growth import grow
from posecli.training.recipe import StageConfig


class EncoderPretraining(nn.Module):
    """The encoder and a linear head, frame by frame: a cheap start before the scans are added."""

    def __init__(self, config: PoseConfig) -> None:
        super().__init__()
        if isinstance(config.encoder, ViTPoseConfig):
            raise ConfigError("part 'encoder' pretrains convolutional encoders; ViTPose comes pretrained")
        self.encoder = build_encoder(config)
        self.head = nn.Conv2d(config.encoder.out_channels, config.num_keypoints, 1)

    def forward(self, *batches: Tensor) -> list[Tensor]:
        """Each (B, T, 3, H, W) uint8 -> (B, T, K, H/4, W/4)."""
        return _unfold(self.head(self.encoder(_fold(batches))), batches)


class NetworkTraining(nn.Module):
    """The whole network, all frames supervised."""

    def __init__(self, config: PoseConfig) -> None:
        super().__init__()
        self.network = PoseNetwork(config)

    def forward(self, *batches: Tensor) -> list[Tensor]:
        """Each (B, T, 3, H, W) uint8 -> (B, T, K, H/4, W/4)."""
        tokens = self.network.encode(_fold(batches)[None])[0]
        return [self.network.refine(part) for part in _unfold(tokens, batches)]


def _fold(batches: Sequence[Tensor]) -> Tensor:
    """All frames of all batches, (N, 3, H, W), normalised."""
    return normalise_images(torch.cat([images.flatten(0, 1) for images in batches]))


def _unfold(folded: Tensor, batches: Sequence[Tensor]) -> list[Tensor]:
    """What was made of those frames, (N, ...), batch by batch: (B, T, ...)."""
    parts = folded.split([images.shape[0] * images.shape[1] for images in batches])
    return [torch.unflatten(part, 0, images.shape[:2]) for part, images in zip(parts, batches, strict=True)]


def build_model(config: PoseConfig, stage: StageConfig) -> nn.Module:
    """The module a stage trains, freshly initialised."""
    return EncoderPretraining(config) if stage.part == "encoder" else NetworkTraining(config)


def start_training(model: nn.Module, stage: StageConfig) -> None:
    """Put a stage's module into training mode, the levels of the encoder that it holds excepted.

    Raises:
        ConfigError: It holds levels of an encoder that has none.
    """
    model.train()
    encoder = model.network.encoder if isinstance(model, NetworkTraining) else model.encoder
    if isinstance(encoder, LadderEncoder):
        encoder.hold(stage.held_levels)
    elif stage.held_levels:
        raise ConfigError(f"stage {stage.name}: held_levels is {stage.held_levels}, this encoder has no levels")


def carry_over(previous: dict[str, Tensor], model: nn.Module) -> None:
    """Start a stage from other weights: the encoder always, grown if it was smaller; the rest where names and shapes agree.

    Raises:
        ConfigError: The other encoder does not fit into this one.
    """
    own = model.state_dict()
    prefix = "network." if isinstance(model, NetworkTraining) else ""
    named = {name if name in own else prefix + name: value for name, value in previous.items()}
    part = prefix + "encoder."
    fresh, trained = ({k: v for k, v in state.items() if k.startswith(part)} for state in (own, named))
    if trained:
        own |= grow(trained, fresh)
    own |= {name: value for name, value in named.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict(own)
