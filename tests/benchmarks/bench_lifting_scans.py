"""What each part of PoseMamba's scan and the scores of the keypoints earn, and what a convolution network of the same size does.

    python tests/benchmarks/bench_lifting_scans.py --mocap MOCAP --out results.json [--steps 1500] [--seeds 1,2]
        [--variants unidirectional,bidirectional,global-local,no-scores,tcn] [--width 64] [--depth 3] [--lengths 81] [--matrix-rate 20]

MOCAP is an .npz of recorded joints, see `posecli.training.lifting.mocap`. Small lifters, all trained side by side from the same seed:
each step makes one batch, and every variant takes its step on it with the same learning rate. The three scans have the same
parameters, begin with the same values and differ in the order alone, as in the paper; no-scores is global-local that sees of a
joint's score only whether there is one; the convolution network's width is chosen so that it has about as many. Half of the clips
have an estimator's errors. With --matrix-rate Muon moves PoseMamba's matrices, as in the recipe; the convolution network has none.

The averaged weights are judged on recordings that are held out, own proportions, three fixed cameras a clip: exact joints, and joints
with errors; with the average of the clip and its mirror image. Differences from global-local are taken recording by recording, so
what makes a recording hard for all cancels out; their standard error is over recordings, means over seeds.

A killed run goes on where it was: beside results.json lies a folder results.runs with the state (saved every 100 steps) or the result
of each variant and seed. Several processes may train different seeds at once with the same --out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from posecli.atomic import write_atomic
from posecli.errors import ConfigError
from posecli.lifting.config import get_lift_config
from posecli.lifting.network import PoseMamba
from posecli.pipeline.allocator import keep_freed_memory
from posecli.training.checkpoint import read_checkpoint, write_checkpoint
from posecli.training.lifting.baselines import DilatedTCN
from posecli.training.lifting.clips import LiftSample, held_out_clips
from posecli.training.lifting.held_out import HELD_OUT
from posecli.training.lifting.judge import judge
from posecli.training.lifting.loop import parameter_groups
from posecli.training.lifting.losses import LossWeights, lifting_loss
from posecli.training.lifting.mixture import load_mixture
from posecli.training.lifting.mocap import read_mocap
from posecli.training.lifting.noise import NoiseModel
from posecli.training.lifting.recipe import LiftSchedule, MotionData
from posecli.training.optimisation import Optimisation

FULL, NO_SCORES, TCN = "global-local", "no-scores", "tcn"
VARIANTS = ("unidirectional", "bidirectional", FULL, NO_SCORES, TCN)
EXACT, NOISY = "exact joints", "joints with errors"
METRICS = ("mpjpe_mm", "p_mpjpe_mm", "mpjve_mm")
GRADIENT_CLIP, EMA_DECAY, NOISY_SHARE = 1.0, 0.998, 0.5
SAVE_EVERY, LOG_EVERY = 100, 50
CAMERAS_EACH = 3


@dataclass(frozen=True)
class Settings:
    """What two runs must share to be comparable."""

    recordings: int
    width: int
    depth: int
    schedule: LiftSchedule
    ema_decay: float = EMA_DECAY
    noisy_share: float = NOISY_SHARE
    gradient_clip: float = GRADIENT_CLIP

    def to_json(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return content


class WithoutScores(nn.Module):
    """A lifter that learns of a score only whether the joint was found.

    Args:
        network: (B, F, J, 3) x, y and score -> (B, F, J, 3).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, joints: Tensor) -> Tensor:
        """As the network does."""
        is_found = (joints[..., 2:] > 0).to(joints.dtype)
        lifted: Tensor = self.network(torch.cat([joints[..., :2], is_found], dim=-1))
        return lifted


def build(variant: str, width: int, depth: int) -> nn.Module:
    """The same as ``posecli-lifter`` but for width, depth and scan; or the convolution network nearest to that in size."""
    base = replace(get_lift_config("posecli-lifter"), d_model=width, depth=depth)
    if variant == NO_SCORES:
        return WithoutScores(PoseMamba(base))
    if variant != TCN:
        return PoseMamba(replace(base, scan=variant))  # type: ignore[arg-type]
    goal = count(PoseMamba(base))
    low, high = 1, 4096  # a bisection: the count grows with the width
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(DilatedTCN(width=middle)) <= goal else (low, middle)
    return DilatedTCN(width=low)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


class Learner:
    """A variant in training; goes on from its state in the folder."""

    def __init__(self, variant: str, settings: Settings, seed: int, folder: Path) -> None:
        self.variant, self.seed, self.settings = variant, seed, settings
        self.seconds, self.losses = 0.0, list[float]()
        self.state_path = folder / f"seed{seed}-{variant}.pt"
        self.result_path = self.state_path.with_suffix(".json")
        self._fingerprint = json.dumps(settings.to_json(), sort_keys=True)
        torch.manual_seed(seed)
        self.network = build(variant, settings.width, settings.depth).train()
        groups, matrices = parameter_groups(self.network, settings.schedule)
        self.optimisation = Optimisation(
            self.network,
            groups,
            settings.schedule,
            matrices=matrices,
            gradient_clip=settings.gradient_clip,
            ema_decay=settings.ema_decay,
        )
        if self.state_path.exists():
            state = read_checkpoint(self.state_path, fingerprint=self._fingerprint, device=torch.device("cpu"))
            self.optimisation.restore(state)
            self.seconds, self.losses = state["seconds"], state["losses"]

    @property
    def step(self) -> int:
        return self.optimisation.step

    @property
    def is_done(self) -> bool:
        """Whether there is a result.

        Raises:
            ConfigError: There is one, of another experiment.
        """
        if not self.result_path.exists():
            return False
        if json.loads(self.result_path.read_text())["settings"] != self.settings.to_json():
            raise ConfigError(f"{self.result_path}: made with other settings", hint="choose another --out")
        return True

    def learn(self, inputs: Tensor, true: Tensor) -> None:
        """One step."""
        start = time.process_time()
        torch.manual_seed(1000 * self.seed + self.step)  # of the dropout: a run that goes on draws the same

        def add_gradients() -> float:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.schedule.precision == "bf16"):
                lifted = self.network(inputs)
            loss = lifting_loss(lifted.float(), true, LossWeights())
            loss.backward()
            return float(loss.detach())

        self.losses.append(self.optimisation.advance(add_gradients, name=self.variant))
        self.seconds += time.process_time() - start

    def save(self) -> None:
        state = {**self.optimisation.state(), "seconds": self.seconds, "losses": self.losses}
        write_checkpoint(self.state_path, state, fingerprint=self._fingerprint)

    def finish(self, tests: dict[str, Sequence[LiftSample]]) -> None:
        """Judge the averaged weights and replace the state by the result."""
        self.network.load_state_dict(self.optimisation.averaged)
        self.network.eval()
        last = self.losses[-max(1, len(self.losses) // 10) :]
        result = {
            "settings": self.settings.to_json(),
            "variant": self.variant,
            "seed": self.seed,
            "parameters": count(self.network),
            "seconds": self.seconds,
            "training_loss": float(np.mean(last)),
            "judged": {name: self._judge(clips) for name, clips in tests.items()},
        }
        write_atomic(self.result_path, json.dumps(result).encode(), overwrite=True)
        self.state_path.unlink(missing_ok=True)

    def _judge(self, clips: Sequence[LiftSample]) -> dict[str, Any]:
        """Over all frames, and by recording."""
        total = judge(self.network, clips)
        names = sorted({clip.name for clip in clips})
        by_recording = {
            name: judge(self.network, [clip for clip in clips if clip.name == name])["mpjpe_mm"] for name in names
        }
        return {**{key: total[key] for key in METRICS}, "frames": total["frames"], "by_recording": by_recording}


def train(learners: Sequence[Learner], settings: Settings, mocap: Path, seed: int) -> None:
    """Side by side to the end, those that are further on waiting for the others."""
    schedule = settings.schedule
    data = MotionData(mocap=mocap.name, noise=settings.noisy_share)
    draw = load_mixture(data, mocap.parent, num_frames=max(schedule.lengths), seed=seed)
    for step in range(min(learner.step for learner in learners), schedule.steps):
        rng = np.random.default_rng((seed, step))
        frames = int(rng.choice(schedule.lengths))
        inputs, true = draw(rng, schedule.frames_per_step // frames, frames)
        behind = [learner for learner in learners if learner.step == step]
        for learner in behind:
            learner.learn(inputs, true)
        if (step + 1) % LOG_EVERY == 0:
            texts = [f"{learner.variant} {np.mean(learner.losses[-LOG_EVERY:]):.3f}" for learner in learners]
            sys.stderr.write(f"seed {seed} step {step + 1}/{schedule.steps} loss: {', '.join(texts)}\n")
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == schedule.steps:
            for learner in behind:
                learner.save()


def tests_of(mocap: Path, num_frames: int) -> dict[str, Sequence[LiftSample]]:
    """Held-out clips, the same whatever the seed of the training."""
    recorded = [sequence for sequence in read_mocap(mocap).sequences if sequence.name in HELD_OUT]
    noises = {EXACT: None, NOISY: NoiseModel()}
    return {
        name: held_out_clips(recorded, num_frames, cameras_each=CAMERAS_EACH, noise=noise)
        for name, noise in noises.items()
    }


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By variant: means over its seeds, and differences from global-local of the same seeds."""
    summary: dict[str, Any] = {}
    for variant in VARIANTS:
        own = {result["seed"]: result for result in results if result["variant"] == variant}
        if not own:
            continue
        full = {result["seed"]: result for result in results if result["variant"] == FULL}
        conditions = {}
        for name in (EXACT, NOISY):
            rows = [result["judged"][name] for result in own.values()]
            entry: dict[str, Any] = {key: float(np.mean([row[key] for row in rows])) for key in METRICS}
            entry["by_seed"] = {seed: result["judged"][name]["mpjpe_mm"] for seed, result in own.items()}
            if shared := sorted(own.keys() & full.keys()):
                pairs = [(own[seed]["judged"][name], full[seed]["judged"][name]) for seed in shared]
                entry["against_full"] = difference(pairs)
            conditions[name] = entry
        first = next(iter(own.values()))
        seconds = float(np.mean([result["seconds"] for result in own.values()]))
        loss = float(np.mean([result["training_loss"] for result in own.values()]))
        summary[variant] = {
            "parameters": first["parameters"],
            "training_seconds": seconds,
            "training_loss": loss,
            **conditions,
        }
    return summary


def difference(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> dict[str, float]:
    """MPJPE of the first of each pair above the second's, mm, mean over recordings; and the standard error of that."""
    names = sorted(pairs[0][0]["by_recording"])
    table = np.array([[own["by_recording"][n] - full["by_recording"][n] for n in names] for own, full in pairs])
    by_recording = table.mean(axis=0)
    error = by_recording.std(ddof=1) / np.sqrt(len(names)) if len(names) > 1 else float("nan")
    return {"mean_mm": float(by_recording.mean()), "standard_error_mm": float(error)}


def show(summary: dict[str, Any]) -> list[str]:
    """Lines for people."""
    lines = []
    for variant, entry in summary.items():
        texts = []
        for name in (EXACT, NOISY):
            row = entry[name]
            against = row.get("against_full")
            behind = f" ({against['mean_mm']:+.2f} ± {against['standard_error_mm']:.2f})" if against else ""
            texts.append(f"{name} {row['mpjpe_mm']:.2f} mm{behind}, aligned {row['p_mpjpe_mm']:.2f}")
        lines.append(f"{variant:16s} {entry['parameters'] / 1e6:.3f} M  {'; '.join(texts)}")
    return lines


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", type=Path, required=True, help=".npz of recorded joints")
    parser.add_argument("--out", type=Path, required=True, help="JSON; its folder of runs lies beside it")
    parser.add_argument("--variants", default=",".join(VARIANTS), help="by default all: %(default)s")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=3, help="pairs of blocks")
    parser.add_argument("--lengths", default="81", help="frames of a clip, one is drawn each step")
    parser.add_argument("--frames", type=int, default=972, help="a step takes as many clips as fit")
    parser.add_argument("--rate", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--matrix-rate", type=float, default=0.0, help="factor on it for matrices that Muon moves")
    return parser.parse_args()


def main() -> None:
    """Train what is not trained yet, judge it, report."""
    arguments = parse()
    torch.set_num_threads(1)
    keep_freed_memory()
    names = arguments.variants.split(",")
    if unknown := sorted(set(names) - set(VARIANTS)):
        raise ConfigError(f"unknown variant {unknown[0]!r}", hint=f"one of {', '.join(VARIANTS)}")
    schedule = LiftSchedule(
        steps=arguments.steps,
        lengths=tuple(map(int, arguments.lengths.split(","))),
        frames_per_step=arguments.frames,
        learning_rate=arguments.rate,
        matrix_rate=arguments.matrix_rate,
        warmup_steps=min(100, arguments.steps // 10),
    )
    recordings = len(read_mocap(arguments.mocap).sequences)
    settings = Settings(recordings, arguments.width, arguments.depth, schedule)
    folder = arguments.out.with_suffix(".runs")
    folder.mkdir(parents=True, exist_ok=True)
    tests: dict[str, Sequence[LiftSample]] = {}
    for seed in map(int, arguments.seeds.split(",")):
        learners = [Learner(variant, settings, seed, folder) for variant in VARIANTS if variant in names]
        pending = [learner for learner in learners if not learner.is_done]
        if pending:
            train(pending, settings, arguments.mocap, seed)
        for learner in pending:
            tests = tests or tests_of(arguments.mocap, max(schedule.lengths))
            learner.finish(tests)
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("seed*-*.json"))]
    summary = summarise([result for result in results if result["settings"] == settings.to_json()])
    sys.stdout.write("\n".join(show(summary)) + "\n")
    content = {"settings": settings.to_json(), "variants": summary}
    write_atomic(arguments.out, json.dumps(content, indent=2).encode(), overwrite=True)


if __name__ == "__main__":
    main()
