"""What each part of GLSMamba earns: frames, scans, merging and blocks, taken away one at a time.

    pip install 'posecli[bench]'        (matplotlib, for the plot)
    posecli synth windows TEST ... --split test --seed 12 --count 512 --hard
    python tests/benchmarks/bench_ablation.py --train TRAIN --test TEST --encoder weights/glsmamba-s.safetensors --out results.json \
        [--plot ablation.png] [--seeds 1,2] [--steps 1300] [--variants full,t1,t3]

TRAIN and TEST are folders of rendered windows of five frames; TEST with avatars, motions and places that TRAIN has not.

As in the paper the encoder is trained beforehand and frozen, here the one in the weights file; embedding, blocks and head of every
variant start from nothing. All variants train side by side: each step makes one batch, encodes it once, and every variant takes its
step on these features, so they see the same windows with the same changes in the same order, with the same learning rates. Single
frames of the windows are blurred or covered (`posecli.training.damage`): where no frame is worse than its neighbours, neighbours
cannot help. Every frame a network sees is supervised. The averaged weights are judged, on the middle frame alone.

For T = 1 there are three answers to "what is held equal?", all with full's number of updates but the last:
- t1: as many windows as full sees, of each the middle frame (a fifth of the labels);
- t1-frames: the same windows and labels, all five frames, each by itself: full without sight of the neighbours;
- t1-long: the same again, but an update after every frame instead of every window: five times as many updates.
What is left out is left out, not replaced, as in the paper: parameters differ and are reported.

Crops are 128 x 96 px (32 x 24 tokens a frame), because a step costs 2.7 times less than at 192 x 160; batches are of 8 windows. One
core of an EPYC (Zen 5) takes about 3 s for a step of all variants: 1300 steps, 10,400 windows, in about 70 minutes a seed. A killed
run goes on where it was: beside results.json lies a folder results.runs with the state or the result of each variant and seed.
Several processes may train different seeds (or variants) at once with the same --out.

Reported: PCK over all test windows, counting points in the picture, seen or hidden, and both apart; as rendered; with the middle frame
spoiled besides (blurred, a rectangle put over a limb point); and, for T > 1, with the middle frame standing in for all, so that the
network has nothing to look at but it. Intervals: 95 % bootstrap over windows, means over seeds; those of differences are paired.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from posecli.atomic import write_atomic
from posecli.encoder import CompactEncoder, normalise_images
from posecli.errors import ConfigError
from posecli.evaluation.pck import LIMB_POINTS, box_lengths
from posecli.pipeline.allocator import keep_freed_memory
from posecli.pose.checkpoint import load_network
from posecli.pose.config import PoseConfig
from posecli.pose.crops import cut_window, window_transform
from posecli.pose.heatmaps import cell_to_crop, decode
from posecli.pose.network import PoseNetwork
from posecli.records import BoolArray, FloatArray, ImageArray
from posecli.training.augment import make_window
from posecli.training.batches import Batch, stack_windows
from posecli.training.checkpoint import read_checkpoint, write_checkpoint
from posecli.training.damage import blur_kernel
from posecli.training.losses import heatmap_loss
from posecli.training.people import Rendered
from posecli.training.recipe import AugmentConfig, RenderedConfig
from posecli.training.schedule import follow, learning_rate
from posecli.training.synthetic.shards import RenderedWindows

NUM_FRAMES, MIDDLE = 5, 2
AUGMENT = AugmentConfig(rotation_deg=15.0, scale=0.15, half_body=0.0, noise=0.2, frame_blur=0.5, frame_cover=0.5)
EMA_DECAY, SIGMA, GRADIENT_CLIP, WEIGHT_DECAY, WARMUP_STEPS = 0.998, 2.0, 1.0, 0.02, 50
SAVE_EVERY, LOG_EVERY, TEST_BATCH = 100, 50, 8
RENDERED, SPOILED, REPEATED = "rendered", "middle frame spoiled", "middle frame repeated"


@dataclass(frozen=True)
class Variant:
    """A network and what it is shown of a window: its middle frames, all ``each`` by itself, or those ``in turn``, an update each."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    shown: Literal["middle", "each", "in turn"] = "middle"

    @property
    def updates_a_step(self) -> int:
        return NUM_FRAMES if self.shown == "in turn" else 1

    def parts(self, tensor: Tensor) -> list[Tensor]:
        """(B, 5, ...) -> what the updates of a step are made on, (B', T, ...) each."""
        if self.shown == "each":
            return [tensor.flatten(0, 1).unsqueeze(1)]
        if self.shown == "in turn":
            return list(tensor.split(1, dim=1))
        return [self.middle(tensor)]

    def middle(self, tensor: Tensor) -> Tensor:
        """(B, 5, ...) -> (B, T, ...), the T frames in the middle."""
        count = self.changes.get("num_frames", NUM_FRAMES)
        return tensor[:, (NUM_FRAMES - count) // 2 :][:, :count]


VARIANTS = (
    Variant("t1", {"num_frames": 1}),
    Variant("t1-frames", {"num_frames": 1}, "each"),
    Variant("t1-long", {"num_frames": 1}, "in turn"),
    Variant("t3", {"num_frames": 3}),
    Variant("unified", {"scan_types": ("unified",)}),
    Variant("unified-spatial", {"scan_types": ("unified", "spatial")}),
    Variant("addition", {"merge": "sum"}),
    Variant("linear", {"num_global_blocks": 0, "num_local_blocks": 0}),
    Variant("no-gsm", {"num_global_blocks": 0}),
    Variant("no-lrm", {"num_local_blocks": 0}),
    Variant("full"),
)


@dataclass(frozen=True)
class Settings:
    """What two runs must share to be comparable; the rendering is what the folders say of themselves."""

    encoder_sha256: str
    train_rendering: dict[str, Any]
    test_rendering: dict[str, Any]
    train_windows: int
    test_windows: int
    crop_hw: tuple[int, int]
    steps: int
    batch_size: int
    learning_rate: float

    def to_json(self) -> dict[str, Any]:
        constants = {
            "ema_decay": EMA_DECAY,
            "sigma": SIGMA,
            "gradient_clip": GRADIENT_CLIP,
            "weight_decay": WEIGHT_DECAY,
            "warmup_steps": WARMUP_STEPS,
            "augment": asdict(AUGMENT),
        }
        return {**asdict(self), "crop_hw": list(self.crop_hw), **constants}


class Schedule(NamedTuple):
    """Of the learning rate, as `posecli.training.schedule` reads it."""

    steps: int
    learning_rate: float
    warmup_steps: int
    final_fraction: float = 0.02


class Learner:
    """A variant in training; goes on from its state in the folder."""

    def __init__(self, variant: Variant, config: PoseConfig, settings: Settings, seed: int, folder: Path) -> None:
        self.variant, self.seed = variant, seed
        self.step, self.updates, self.seconds = 0, 0, 0.0
        self.state_path = folder / f"seed{seed}-{variant.name}.pt"
        self.result_path = self.state_path.with_suffix(".json")
        self.losses: list[float] = []
        count = variant.updates_a_step
        self.schedule = Schedule(settings.steps * count, settings.learning_rate, WARMUP_STEPS * count)
        self._settings = settings.to_json()
        self._fingerprint = json.dumps(self._settings, sort_keys=True)
        torch.manual_seed(seed)
        self.network = PoseNetwork(replace(config, is_encoder_frozen=True, **variant.changes))
        self.network.encoder = nn.Identity()  # features come from outside
        self.network.train()
        self.averaged = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(_with_decay(self.network))
        if self.state_path.exists():
            self._resume()

    def learn(self, features: Tensor, cells: Tensor, is_labelled: Tensor) -> None:
        """One step, on features (B, 5, h, w, C) and labels as `make_batch` makes them."""
        start = time.process_time()
        parts = (self.variant.parts(tensor) for tensor in (features, cells, is_labelled))
        self.losses.append(float(np.mean([self._update(*part) for part in zip(*parts, strict=True)])))
        self.step += 1
        self.seconds += time.process_time() - start

    def _update(self, features: Tensor, cells: Tensor, is_labelled: Tensor) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.schedule, self.updates)
        with torch.autocast("cpu", torch.bfloat16):
            heatmaps = self.network.refine(self.network.embed(features))
        loss = heatmap_loss(heatmaps, cells, is_labelled, sigma=SIGMA)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        # stops where a gradient is not a number
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_CLIP, error_if_nonfinite=True)
        self.optimiser.step()
        self.updates += 1
        follow(self.averaged, self.network, decay=EMA_DECAY, step=self.updates)
        return float(loss.detach())

    def save(self) -> None:
        state = {
            "step": self.step,
            "updates": self.updates,
            "seconds": self.seconds,
            "losses": self.losses,
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
        }
        write_checkpoint(self.state_path, state, fingerprint=self._fingerprint)

    def _resume(self) -> None:
        state = read_checkpoint(self.state_path, fingerprint=self._fingerprint, device=torch.device("cpu"))
        self.step, self.updates, self.seconds = state["step"], state["updates"], state["seconds"]
        self.losses = state["losses"]
        self.network.load_state_dict(state["network"])
        self.averaged = state["averaged"]
        self.optimiser.load_state_dict(state["optimiser"])

    @property
    def is_done(self) -> bool:
        """Whether there is a result.

        Raises:
            ConfigError: There is one, of another experiment.
        """
        if not self.result_path.exists():
            return False
        if json.loads(self.result_path.read_text())["settings"] != self._settings:
            raise ConfigError(f"{self.result_path}: made with other settings", hint="choose another --out")
        return True

    def finish(self, right: dict[str, dict[str, list[int]]], counts: dict[str, list[int]]) -> None:
        """Replace the state by the result."""
        last = self.losses[-max(1, len(self.losses) // 10) :]
        result = {
            "settings": self._settings,
            "variant": self.variant.name,
            "seed": self.seed,
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "updates": self.updates,
            "seconds": self.seconds,
            "training_loss": float(np.mean(last)),
            "counts": counts,
            "right": right,
        }
        write_atomic(self.result_path, json.dumps(result).encode(), overwrite=True)
        self.state_path.unlink()


def _with_decay(network: nn.Module) -> list[dict[str, Any]]:
    """Weight decay on matrices only, as in `posecli.training.loop`."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in network.parameters():
        groups[parameter.ndim > 1 and not getattr(parameter, "no_weight_decay", False)].append(parameter)
    return [{"params": groups[True], "weight_decay": WEIGHT_DECAY}, {"params": groups[False], "weight_decay": 0.0}]


def encode(encoder: nn.Module, images: Tensor) -> Tensor:
    """(B, T, 3, H, W) uint8 -> (B, T, h, w, C)."""
    with torch.no_grad():
        features = encoder(normalise_images(images.flatten(0, 1)).contiguous(memory_format=torch.channels_last))
    return torch.unflatten(features.permute(0, 2, 3, 1).contiguous(), 0, images.shape[:2])


def make_batch(people: Rendered, settings: Settings, seed: int, step: int) -> Batch:
    """Images (B, 5, 3, H, W) uint8, keypoints (B, 5, 19, 2) in cells and whether they are labelled: the same for every variant."""
    rng = np.random.default_rng((seed, step))
    windows = [
        make_window(people.draw(rng, NUM_FRAMES), AUGMENT, num_frames=NUM_FRAMES, crop_hw=settings.crop_hw, rng=rng)
        for _ in range(settings.batch_size)
    ]
    return stack_windows(windows)


def train(learners: Sequence[Learner], encoder: nn.Module, folder: Path, settings: Settings, seed: int) -> None:
    """Side by side to the end, those that are further on waiting for the others."""
    people = Rendered(RenderedConfig(folder.name, count=settings.train_windows), folder.parent)
    for step in range(min(learner.step for learner in learners), settings.steps):
        images, cells, is_labelled = make_batch(people, settings, seed, step)
        with torch.autocast("cpu", torch.bfloat16):
            features = encode(encoder, images)
        for learner in learners:
            if learner.step == step:
                learner.learn(features, cells, is_labelled)
        if (step + 1) % LOG_EVERY == 0:
            texts = [f"{learner.variant.name} {np.mean(learner.losses[-LOG_EVERY:]):.3f}" for learner in learners]
            sys.stderr.write(f"seed {seed} step {step + 1}/{settings.steps} loss: {', '.join(texts)}\n")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == settings.steps:
            for learner in learners:
                learner.save()


class Measure(NamedTuple):
    """Which points count, and how far off, in parts of the box's longer side, they may be."""

    points: Sequence[int]
    visibilities: tuple[int, ...]
    fraction: float


_ALL, _INSIDE, _SEEN, _HIDDEN = tuple(range(19)), (1, 2), (2,), (1,)
MEASURES = {
    "limb_0.1": Measure(LIMB_POINTS, _INSIDE, 0.1),
    "all_0.1": Measure(_ALL, _INSIDE, 0.1),
    "limb_0.05": Measure(LIMB_POINTS, _INSIDE, 0.05),
    "all_0.05": Measure(_ALL, _INSIDE, 0.05),
    "seen_limb_0.1": Measure(LIMB_POINTS, _SEEN, 0.1),
    "hidden_limb_0.1": Measure(LIMB_POINTS, _HIDDEN, 0.1),
}


class HeldOut:
    """Crops of N test windows, their middle frames spoiled, and what is right."""

    def __init__(self, folder: Path, count: int, crop_hw: tuple[int, int]) -> None:
        windows = [RenderedWindows(folder).read(index) for index in range(count)]
        self.transforms = [window_transform(window.boxes, crop_hw) for window in windows]
        pairs = list(zip(windows, self.transforms, strict=True))
        self.crops = np.stack([cut_window(list(window.images), transform) for window, transform in pairs])
        self.truth = np.stack([window.keypoints[MIDDLE] for window in windows])
        self.visibility = np.stack([window.visibility[MIDDLE] for window in windows])
        self.lengths = box_lengths(np.stack([window.boxes[MIDDLE] for window in windows]))
        self.spoiled = np.stack(
            [
                spoil(self.crops[n, MIDDLE], transform.to_crop(self.truth[n])[self.visibility[n] > 0], seed=n)
                for n, (_, transform) in enumerate(pairs)
            ]
        )

    def counted(self, measure: Measure) -> BoolArray:
        """(N, k) which of the measure's points count."""
        return np.isin(self.visibility[:, list(measure.points)], measure.visibilities)

    def counts(self) -> dict[str, list[int]]:
        """By measure, points of each window that count."""
        return {name: self.counted(measure).sum(axis=1).tolist() for name, measure in MEASURES.items()}

    def judge(self, cells: FloatArray) -> dict[str, list[int]]:
        """By measure, points of each window that are right, of answers (N, 19, 2) in heatmap cells."""
        points = cell_to_crop(cells, CompactEncoder.stride)
        placed = np.stack([transform.to_frame(p) for transform, p in zip(self.transforms, points, strict=True)])
        off = np.linalg.norm(placed - self.truth, axis=-1) / self.lengths[:, None]
        return {
            name: (self.counted(measure) & (off[:, list(measure.points)] < measure.fraction)).sum(axis=1).tolist()
            for name, measure in MEASURES.items()
        }


def spoil(image: ImageArray, points: FloatArray, *, seed: int) -> ImageArray:
    """A blurred copy of a crop with a rectangle over one of the points (k, 2) px, as strong as in training."""
    rng = np.random.default_rng((2024, seed))
    height, width = image.shape[:2]
    spoiled = np.asarray(cv2.filter2D(image, -1, blur_kernel(2 * height, rng)), np.uint8)
    half = np.array([width, height]) * rng.uniform(0.1, 0.175, 2)
    centre = np.clip(points[rng.integers(len(points))], 0, [width - 1, height - 1])
    left, top = np.clip(np.rint(centre - half), 0, [width, height]).astype(int)
    right, bottom = np.clip(np.rint(centre + half), 0, [width, height]).astype(int)
    spoiled[top:bottom, left:right] = rng.integers(0, 256, 3)
    return spoiled


def judge(learner: Learner, encoder: nn.Module, test: HeldOut) -> dict[str, dict[str, list[int]]]:
    """Points that are right by condition, measure and window."""
    network, variant = learner.network, learner.variant
    network.load_state_dict(learner.averaged)
    network.eval()
    found: dict[str, list[FloatArray]] = {}
    for start in range(0, len(test.crops), TEST_BATCH):
        chosen = slice(start, start + TEST_BATCH)
        for condition, features in _conditions(encoder, test.crops[chosen], test.spoiled[chosen]):
            shown = variant.middle(features)
            if condition == REPEATED and shown.shape[1] == 1:
                continue
            with torch.inference_mode():
                heatmaps = network.refine(network.embed(shown.contiguous()), frame=shown.shape[1] // 2)[:, 0]
            found.setdefault(condition, []).append(decode(heatmaps)[0])
    return {condition: test.judge(np.concatenate(cells)) for condition, cells in found.items()}


def _conditions(encoder: nn.Module, crops: ImageArray, spoiled: ImageArray) -> Iterator[tuple[str, Tensor]]:
    images = np.concatenate([crops, spoiled[:, None]], axis=1)
    features = encode(encoder, torch.from_numpy(images).permute(0, 1, 4, 2, 3))
    yield RENDERED, features[:, :NUM_FRAMES]
    yield REPEATED, features[:, MIDDLE : MIDDLE + 1].expand(-1, NUM_FRAMES, -1, -1, -1)
    changed = features[:, :NUM_FRAMES].clone()
    changed[:, MIDDLE] = features[:, NUM_FRAMES]
    yield SPOILED, changed


def settings_of(arguments: argparse.Namespace, sha256: str) -> Settings:
    """What is asked for, and what it is asked of."""
    train, test = (json.loads((folder / "rendering.json").read_text()) for folder in (arguments.train, arguments.test))
    if train["split"] == test["split"]:
        raise ConfigError(f"{arguments.train} and {arguments.test}: both of the split {train['split']!r}")
    return Settings(
        encoder_sha256=sha256,
        train_rendering=train,
        test_rendering=test,
        train_windows=arguments.train_windows or len(RenderedWindows(arguments.train)),
        test_windows=arguments.test_windows or len(RenderedWindows(arguments.test)),
        crop_hw=arguments.crop,
        steps=arguments.steps,
        batch_size=arguments.batch,
        learning_rate=arguments.rate,
    )


def _size(text: str) -> tuple[int, int]:
    height, width = (int(side) for side in text.split("x"))
    return height, width


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="folder of rendered windows")
    parser.add_argument("--test", type=Path, required=True, help="another, of other people, motions and places")
    parser.add_argument("--encoder", required=True, help="pose weights whose encoder and widths are taken")
    parser.add_argument("--out", type=Path, required=True, help="JSON; its folder of runs lies beside it")
    parser.add_argument("--plot", type=Path, help="PNG to write, once full is trained")
    parser.add_argument("--variants", default=",".join(v.name for v in VARIANTS), help="by default all: %(default)s")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--steps", type=int, default=1300)
    parser.add_argument("--batch", type=int, default=8, help="windows a step")
    parser.add_argument("--crop", type=_size, default=(128, 96), metavar="HxW", help="px; default 128x96")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--train-windows", type=int, default=0, help="the first so many; default all")
    parser.add_argument("--test-windows", type=int, default=0, help="likewise")
    return parser.parse_args()


def main() -> None:
    """Train what is not trained yet, judge it, report."""
    arguments = parse()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    keep_freed_memory()
    names = arguments.variants.split(",")
    if unknown := sorted(set(names) - {v.name for v in VARIANTS}):
        raise ConfigError(f"unknown variant {unknown[0]!r}", hint=f"one of {', '.join(v.name for v in VARIANTS)}")
    source, loaded = load_network(arguments.encoder)
    settings = settings_of(arguments, loaded.sha256)
    config = replace(source.config, crop_hw=arguments.crop, num_frames=NUM_FRAMES)
    folder = arguments.out.with_suffix(".runs")
    folder.mkdir(parents=True, exist_ok=True)
    test: HeldOut | None = None
    for seed in map(int, arguments.seeds.split(",")):
        learners = [Learner(v, config, settings, seed, folder) for v in VARIANTS if v.name in names]
        pending = [learner for learner in learners if not learner.is_done]
        if pending:
            train(pending, source.encoder, arguments.train, settings, seed)
        for learner in pending:
            test = test or HeldOut(arguments.test, settings.test_windows, arguments.crop)
            learner.finish(judge(learner, source.encoder, test), test.counts())
    report = Path(__file__).with_name("report_ablation.py")
    plot = ["--plot", arguments.plot] if arguments.plot else []
    subprocess.run([sys.executable, report, folder, "--out", arguments.out, *plot], check=True)


if __name__ == "__main__":
    main()
