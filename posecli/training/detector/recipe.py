"""A detector's recipe: one TOML file that decides what weights come out. Unknown keys are errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from posecli.errors import ConfigError
from posecli.people.personnet import INPUT_MULTIPLE_PX, PersonNetConfig
from posecli.training.recipe import Precision, read_dataclass


@dataclass(frozen=True)
class BoxDataConfig:
    """One COCO-style set of pictures with person boxes.

    Attributes:
        annotations: JSON, relative to the data folder given on the command line.
        images: Folder of its pictures, likewise.
        share: Part of the pictures drawn from this set (normalised over the sets).
        holdout_modulo: Images whose id is divisible by it are kept out (0: none), so that they can be evaluated on.
        has_all_people: Whether everybody is labelled; if not, nothing outside the labelled boxes is learnt from.
        box_weight: Weight of the box loss: below 1 where boxes are rough.
        keypoint_margin: If positive, boxes are drawn anew around the keypoints with this margin (parts of the longer side).
        group_size: A box that holds so many others is taken for a box around a group, and ignored (0: never).
    """

    annotations: str
    images: str
    share: float = 1.0
    holdout_modulo: int = 0
    has_all_people: bool = True
    box_weight: float = 1.0
    keypoint_margin: float = 0.0
    group_size: int = 0


@dataclass(frozen=True)
class BoxAugmentConfig:
    """Random changes to a training picture.

    Attributes:
        mosaic: Probability of a picture made of four.
        flip: Probability of a mirrored part.
        scale: Range of a single picture's scale against the one at which it just fits; drawn log-uniformly.
        mosaic_scale: Likewise for the parts of a mosaic, against the scale at which they just fill their place.
        max_aspect: Stretch of one axis against the other, at most; drawn log-uniformly.
        min_visible: Part of a box that must be left after cropping; below it the box is ignored.
        min_side_px: People whose longer side is smaller are ignored.
        rotation_deg: Largest rotation.
        rotation: Probability of a rotation up to ``rotation_deg``.
        quarter_turn: Probability of a further turn by 90 degrees, either way.
        colour: Strength of gain, bias, gamma and channel changes.
        blur: Probability of Gaussian or motion blur.
        greyscale: Probability of a picture without colour.
        jpeg: Probability of the traces of strong JPEG compression.
        erase: Probability, for each person, of a part covered by a patch of one colour.
    """

    mosaic: float = 0.5
    flip: float = 0.5
    scale: tuple[float, float] = (0.6, 2.0)
    mosaic_scale: tuple[float, float] = (0.6, 1.6)
    max_aspect: float = 2.0
    min_visible: float = 0.35
    min_side_px: float = 12.0
    rotation_deg: float = 15.0
    rotation: float = 0.0
    quarter_turn: float = 0.0
    colour: float = 0.25
    blur: float = 0.15
    greyscale: float = 0.08
    jpeg: float = 0.0
    erase: float = 0.0


@dataclass(frozen=True)
class ScheduleConfig:
    """How long and how fast.

    Attributes:
        steps: Optimiser steps.
        sizes_px: Sides of the square pictures; one is drawn for each step.
        pixels_per_step: The batch is as many pictures as fit.
        plain_fraction: The last part of the steps is without mosaics.
        learning_rate: Peak, reached after ``warmup_steps``, then a cosine to ``final_fraction`` of it.
        encoder_rate: Factor on the learning rate of the encoder.
        held_levels: So many levels of its ladder, and the stem, stay as they are.
    """

    steps: int
    sizes_px: tuple[int, ...] = (320,)
    pixels_per_step: int = 16 * 320 * 320
    plain_fraction: float = 0.15
    learning_rate: float = 1.5e-3
    encoder_rate: float = 1.0
    held_levels: int = 0
    warmup_steps: int = 200
    final_fraction: float = 0.01
    weight_decay: float = 0.03
    precision: Precision = "bf16"

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.sizes_px:
            raise ConfigError("schedule: steps and sizes_px must not be empty")
        if any(side % INPUT_MULTIPLE_PX or side < INPUT_MULTIPLE_PX for side in self.sizes_px):
            raise ConfigError(f"schedule: sizes_px {self.sizes_px} must be multiples of {INPUT_MULTIPLE_PX}")
        if self.pixels_per_step < max(self.sizes_px) ** 2:
            raise ConfigError("schedule: pixels_per_step holds not one picture of the largest size")


@dataclass(frozen=True)
class DetectorRecipe:
    """A whole training run.

    Attributes:
        name: Name of the weights that come out.
        schedule: Length and rates.
        data: The sets.
        network: Sizes of the network.
        initialise_encoder_from: Where the first weights (of the encoder, or of all) come from, in words; the file itself is given
            on the command line.
        seed: Decides initialisation, sampling and augmentation.
        ema_decay: Decay of the averaged weights, which are the ones released.
        box_loss_weight: Weight of the box loss against the centre loss.
        has_norms: Whether what trains gets batch norms until it is released, see `posecli.training.norms`.
        initial_share: Part of the first weights in what is released: between the two ends lies what is better than either, if the
            first were good already (Wortsman et al. 2022).
    """

    name: str
    schedule: ScheduleConfig
    data: tuple[BoxDataConfig, ...]
    network: PersonNetConfig = field(default_factory=PersonNetConfig)
    initialise_encoder_from: str | None = None
    seed: int = 0
    ema_decay: float = 0.999
    gradient_clip: float = 5.0
    box_loss_weight: float = 4.0
    has_norms: bool = False
    initial_share: float = 0.0
    augment: BoxAugmentConfig = field(default_factory=BoxAugmentConfig)

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError(f"recipe {self.name}: needs at least one [[data]]")
        if not 0.0 <= self.initial_share < 1.0 or (self.initial_share and self.initialise_encoder_from is None):
            raise ConfigError(
                f"recipe {self.name}: initial_share {self.initial_share:g} must be 0 to 1, of weights to begin with"
            )


def read_detector_recipe(path: Path) -> DetectorRecipe:
    """Read and check a recipe.

    Raises:
        ConfigError: The file is missing, is not TOML, or has an unknown key or a value of the wrong type.
    """
    recipe: DetectorRecipe = read_dataclass(DetectorRecipe, path)
    return recipe
