"""A recipe: everything that decides what weights come out of a training run, in one TOML file.

Unknown keys are errors, so a typo never trains silently with a default.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from posecli.errors import ConfigError

Part = Literal["encoder", "network"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class DataConfig:
    """One COCO-style set of stills.

    Attributes:
        annotations: JSON, relative to the data folder given on the command line.
        images: Folder of its pictures, likewise.
        share: Part of every batch of windows drawn from this set (normalised over the sets).
        single_share: Part of every batch of single frames (windows of one too), likewise; as ``share`` unless given.
        holdout_modulo: Images whose id is divisible by it are kept out (0: none), so that they can be evaluated on.
        min_keypoints: People with fewer labelled points are left out.
        leave_out: Ids of annotations that are left out, because their labels are known to be wrong.
    """

    annotations: str
    images: str
    share: float = 1.0
    single_share: float | None = None
    holdout_modulo: int = 0
    min_keypoints: int = 4
    leave_out: tuple[int, ...] = ()


@dataclass(frozen=True)
class RenderedConfig:
    """A folder of rendered windows, as `posecli synth windows` writes them.

    Attributes:
        folder: Relative to the data folder.
        share: Part of every batch of windows, together with the shares of the stills.
        single_share: Part of every batch of single frames (windows of one too), likewise; as ``share`` unless given.
        count: So many windows from the first on (0: all there are).
    """

    folder: str
    share: float = 1.0
    single_share: float | None = None
    count: int = 0


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes; each is drawn once per window, so that all its frames agree, except the small motion between frames.

    Attributes:
        flip: Probability of a mirrored window.
        rotation_deg: Standard deviation of the rotation, clipped at twice that.
        rotation_probability: Probability of any rotation.
        any_rotation: Probability of a rotation drawn from the whole circle instead (people upside down).
        scale: Standard deviation of the relative scale, clipped to 0.6..1.5.
        shift: Standard deviation of the crop's shift, in box sides.
        half_body: Probability of a crop around the upper or lower body alone.
        drift: Motion of the camera per frame, standard deviation in crop sides (rotation and zoom in proportion).
        limb_motion: Motion of single limbs per frame, standard deviation in crop sides: the picture around a few keypoints is pulled
            along, so that a window is more than one rigid picture and the network cannot just average its frames.
        colour: Strength of gain, bias, gamma and channel changes.
        blur: Probability of Gaussian or motion blur.
        cutout: Probability of a covered rectangle.
        greyscale: Probability of a picture without colour.
        low_resolution: Probability of a picture scaled down, to a fifth at most, and up again.
        noise: Probability of a sensor's noise, other in every frame.
        jpeg: Probability of compression.
        frame_blur: Probability that some frames of a window, never all, are blurred.
        frame_cover: Probability that in some frames of a window, never all, a rectangle is covered.
    """

    flip: float = 0.5
    rotation_deg: float = 30.0
    rotation_probability: float = 0.6
    any_rotation: float = 0.0
    scale: float = 0.2
    shift: float = 0.05
    half_body: float = 0.15
    drift: float = 0.02
    limb_motion: float = 0.0
    colour: float = 0.25
    blur: float = 0.15
    cutout: float = 0.25
    greyscale: float = 0.08
    low_resolution: float = 0.0
    noise: float = 0.0
    jpeg: float = 0.0
    frame_blur: float = 0.0
    frame_cover: float = 0.0


@dataclass(frozen=True)
class StageConfig:
    """One stretch of training with constant shapes.

    Attributes:
        name: For messages.
        part: ``encoder`` trains the encoder with a throw-away linear head on single frames; ``network`` trains everything.
        steps: Optimiser steps.
        batch_size: Windows a step.
        num_frames: Frames a window.
        crop_hw: Crop size, px.
        learning_rate: Peak, reached after ``warmup_steps``, then a cosine to ``final_fraction`` of it.
        encoder_rate: Factor on the learning rate of the encoder.
        num_singles: Single frames a step, beside the windows: a still teaches in one frame what it teaches in five, at a
            fifth of the cost.
        held_levels: So many levels of the encoder, and its stem, stay as they are: what a trained encoder sees at high
            resolution needs no change, and going back through it takes a good part of a step.
        has_norms: Whether what trains of an encoder that came without gets batch norms meanwhile, see `posecli.training.norms`.
    """

    name: str
    part: Part
    steps: int
    batch_size: int
    num_frames: int
    crop_hw: tuple[int, int]
    learning_rate: float = 1e-3
    encoder_rate: float = 1.0
    warmup_steps: int = 100
    final_fraction: float = 0.02
    weight_decay: float = 0.02
    precision: Precision = "bf16"
    num_singles: int = 0
    held_levels: int = 0
    has_norms: bool = False

    def __post_init__(self) -> None:
        if self.part not in get_args(Part):
            raise ConfigError(f"stage {self.name}: part {self.part!r} is not one of {', '.join(get_args(Part))}")
        if self.precision not in get_args(Precision):
            raise ConfigError(f"stage {self.name}: precision {self.precision!r} is not one of fp32, bf16")
        if any(side % 32 for side in self.crop_hw):
            raise ConfigError(f"stage {self.name}: crop_hw {self.crop_hw} must be multiples of 32")
        if min(self.steps, self.batch_size, self.num_frames) < 1 or min(self.num_singles, self.held_levels) < 0:
            raise ConfigError(f"stage {self.name}: steps, batch_size and num_frames must be positive")


@dataclass(frozen=True)
class Recipe:
    """A whole training run.

    Attributes:
        name: Name of the weights that come out.
        network: Name of the network config (`posecli.pose.config`).
        seed: Decides initialisation, sampling and augmentation.
        sigma: Gaussian target, cells.
        steadiness: Weight of errors that change from frame to frame, see `posecli.training.losses.heatmap_loss`.
        exactness: Weight of peaks that are near but not right, likewise.
        ema_decay: Decay of the averaged weights, which are the ones released.
        initial: Weights (a registered name or a path) that the first stage starts from; empty: from nothing.
        initial_encoder: Weights whose encoder stands in for that of ``initial``, whose blocks then get an embedding that is fitted to
            it (`posecli.training.embedding`); empty: none.
        initial_share: Part of the initial weights in what is released: between the two ends lies what is better than either, if the
            rate was low enough (Wortsman et al. 2022).
        data: The sets of stills.
        rendered: The sets of rendered windows.
        stages: Run in order; each starts from the averaged weights of the one before.
    """

    name: str
    network: str
    stages: tuple[StageConfig, ...]
    data: tuple[DataConfig, ...] = ()
    seed: int = 0
    sigma: float = 2.0
    steadiness: float = 0.0
    exactness: float = 0.0
    ema_decay: float = 0.999
    gradient_clip: float = 1.0
    initial: str = ""
    initial_encoder: str = ""
    initial_share: float = 0.0
    rendered: tuple[RenderedConfig, ...] = ()
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if not (self.data or self.rendered) or not self.stages:
            raise ConfigError(f"recipe {self.name}: needs at least one [[data]] or [[rendered]], and one [[stages]]")

        if not 0.0 <= self.initial_share < 1.0 or (self.initial_share and (not self.initial or self.initial_encoder)):
            raise ConfigError(
                f"recipe {self.name}: initial_share {self.initial_share:g} must be 0 to 1, of the whole of initial"
            )
        if self.initial_share and self.stages[-1].part != "network":
            raise ConfigError(f"recipe {self.name}: initial_share needs a last stage that trains the network")

    @property
    def shares(self) -> tuple[float, ...]:
        """Of all sets in the windows, stills first."""
        return tuple(entry.share for entry in self._entries)

    @property
    def single_shares(self) -> tuple[float, ...]:
        """Of all sets in the single frames, stills first."""
        return tuple(entry.share if entry.single_share is None else entry.single_share for entry in self._entries)

    @property
    def _entries(self) -> tuple[DataConfig | RenderedConfig, ...]:
        return (*self.data, *self.rendered)


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ConfigError: The file is missing, is not TOML, or has an unknown key or a value of the wrong type.
    """
    recipe: Recipe = read_dataclass(Recipe, path)
    return recipe


def recipe_facts(recipe: Any) -> dict[str, Any]:
    """What a weights file says of the recipe that made it; of weights it began with only the file's name: where they lay is private.

    Args:
        recipe: Its dataclass, of any kind.
    """
    facts = asdict(recipe)
    for name in ("initial", "initial_encoder"):
        if name in facts:
            facts[name] = Path(facts[name]).name
    return facts


def read_dataclass(kind: Any, path: Path) -> Any:
    """A recipe of any kind from a TOML file.

    Args:
        kind: Its dataclass.
        path: The file.

    Raises:
        ConfigError: See `read_recipe`; the message names the file.
    """
    content = _read_toml(path)
    try:
        return build_from_mapping(kind, content, "recipe")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", error.hint) from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def build_from_mapping(kind: Any, content: Mapping[str, Any], where: str) -> Any:
    """A dataclass from a mapping, nested dataclasses and tuples of them included.

    Args:
        kind: The dataclass.
        content: Its fields; those with a default may be left out.
        where: For messages.

    Returns:
        The dataclass.

    Raises:
        ConfigError: A key is unknown or missing, or a value is of the wrong type.
    """
    hints = get_type_hints(kind)
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(content) - known)
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r} in {where}", hint=f"known: {', '.join(sorted(known))}")
    values = {name: _value(hints[name], value, f"{where}.{name}") for name, value in content.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{where}: {str(error).split('__init__() ')[-1]}") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return build_from_mapping(hint, value, where)
    origin = get_origin(hint)
    if origin is tuple:
        return _tuple(get_args(hint), value, where)
    if origin is Literal:
        if value not in get_args(hint):
            raise ConfigError(f"{where}: {value!r} is not one of {', '.join(map(str, get_args(hint)))}")
        return value
    if origin in (Union, UnionType):
        hint = next(a for a in get_args(hint) if a is not type(None))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f"{where}: {value!r} is not of type {hint.__name__}")
    return value


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where}: {value!r} is not a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if len(arguments) != len(value):
        raise ConfigError(f"{where}: needs {len(arguments)} entries, has {len(value)}")
    return tuple(_value(a, item, where) for a, item in zip(arguments, value, strict=True))
