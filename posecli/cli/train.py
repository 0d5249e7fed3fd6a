"""``posecli train``: weights from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from posecli.cli import console, options, pack
from posecli.cli.threads import make_threads_patient, set_threads
from posecli.defaults import POSE_WEIGHTS

if TYPE_CHECKING:
    from posecli.training.lifting.loop import LiftStep
    from posecli.training.loop import StepReport

_STEPS_BETWEEN_LINES = 100

app = typer.Typer(help="Train weights from a recipe.", no_args_is_help=True)

_Recipe = Annotated[
    Path, typer.Argument(metavar="RECIPE", help="A recipe, such as posecli/training/recipes/glsmamba-s.toml.")
]
_Data = Annotated[Path, typer.Option("--data", help="The folder that the recipe's paths are relative to.")]
_Run = Annotated[Path, typer.Option("--run", help="Folder for checkpoints; the same command goes on from them.")]
_Out = Annotated[Path, typer.Option("--out", "-o", help="The weights file to write, ending in .safetensors.")]
_Device = Annotated[str, typer.Option("--device", help="cpu, cuda, or cuda:N.")]
_Threads = Annotated[int, typer.Option("--threads", min=1, help="CPU threads.")]


class _Log:
    """A progress line, and a plain line every hundred steps for those who redirect stderr."""

    def __init__(self, line: console.ProgressLine) -> None:
        self._line = line
        self._losses: list[float] = []

    def __call__(self, report: StepReport) -> None:
        self._losses.append(report.loss)
        self._line(report.step, report.num_steps, {"steps": 1.0 / max(report.seconds, 1e-9)})
        if report.step % _STEPS_BETWEEN_LINES == 0 or report.step == report.num_steps:
            mean = sum(self._losses) / len(self._losses)
            console.info(f"{report.stage} {report.step}/{report.num_steps} loss {mean:.4f}")
            self._losses.clear()


@app.command("pose")
def pose(
    recipe: _Recipe,
    data: _Data,
    run: _Run,
    out: _Out,
    device: _Device = "cpu",
    threads: _Threads = 1,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that prepare pictures; 0: in between.")
    ] = 0,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a pose network.

    Example: posecli train pose posecli/training/recipes/glsmamba-s.toml --data DATA --run runs/s --out s.safetensors
    """
    from posecli.training.recipe import read_recipe

    content = read_recipe(recipe)
    make_threads_patient()
    set_threads(threads)
    from posecli.training.release import train_pose

    with console.progress("train", unit="steps") as line:
        sha256 = train_pose(
            content, data, run, out, device=device, workers=workers, overwrite=overwrite, report=_Log(line)
        )
    console.info(f"wrote {out} (sha256 {sha256[:12]}...)")


@app.command("detector")
def detector(
    recipe: _Recipe,
    data: _Data,
    run: _Run,
    out: _Out,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init",
            help="Weights to start from: a detector's, or a pose network's (its encoder), or a checkpoint of one.",
        ),
    ] = None,
    threads: _Threads = 1,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a person detector.

    Example: posecli train detector posecli/training/recipes/personnet.toml --data DATA --run runs/p --out p.safetensors
    """
    from posecli.atomic import check_output, write_atomic

    check_output(out, overwrite=overwrite)
    make_threads_patient()
    set_threads(threads)
    from posecli.training.detector.loop import DetectorStep, train_detector

    with console.progress("train", unit="steps") as line:

        def report(step: DetectorStep) -> None:
            line(step.step, step.num_steps, {"steps": 1.0 / max(step.seconds, 1e-9)})
            if step.step % _STEPS_BETWEEN_LINES == 0 or step.step == step.num_steps:
                console.info(f"{step.step}/{step.num_steps} centre {step.centre_loss:.3f} box {step.box_loss:.3f}")

        trained = train_detector(recipe, data, run, init=init, report=report)
    write_atomic(out, trained.read_bytes(), overwrite=overwrite)
    console.info(f"wrote {out}")


@app.command("lifter")
def lifter(
    recipe: _Recipe,
    data: _Data,
    run: _Run,
    out: _Out,
    device: _Device = "cpu",
    threads: _Threads = 1,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Train what turns 2D poses into 3D.

    Example: posecli train lifter posecli/training/recipes/posecli-lifter.toml --data DATA --run runs/l --out l.safetensors
    """
    from posecli.training.lifting.recipe import read_lift_recipe

    content = read_lift_recipe(recipe)
    make_threads_patient()
    set_threads(threads)
    from posecli.training.lifting.release import train_lifter

    losses: list[float] = []
    with console.progress("train", unit="steps") as line:

        def report(step: LiftStep) -> None:
            losses.append(step.loss)
            line(step.step, step.num_steps, {"steps": 1.0 / max(step.seconds, 1e-9)})
            if step.step % _STEPS_BETWEEN_LINES == 0 or step.step == step.num_steps:
                console.info(f"{step.step}/{step.num_steps} loss {sum(losses) / len(losses):.4f}")
                losses.clear()

        sha256 = train_lifter(content, data, run, out, device=device, overwrite=overwrite, report=report)
    console.info(f"wrote {out} (sha256 {sha256[:12]}...)")


@app.command("fill")
def fill(
    annotations: Annotated[Path, typer.Argument(metavar="LABELS", help="COCO-style labels, or boxes alone.")],
    images: Annotated[Path, typer.Option("--images", help="Folder of their pictures.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The labels to write, with posecli's 19 points.")],
    weights: Annotated[
        str, typer.Option("--weights", help="The network that fills in: a name or a file.")
    ] = POSE_WEIGHTS,
    min_score: Annotated[
        float, typer.Option("--min-score", min=0, max=1, help="Points it is less sure of stay out.")
    ] = 0.4,
    min_height: Annotated[
        float, typer.Option("--min-height", min=0, help="People whose box is lower, px, are left as they are.")
    ] = 0.0,
    device: _Device = "cpu",
    threads: _Threads = 1,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Fill in what a set of pictures does not label, as a pose network sees it, to train another on.

    Example: posecli train fill DATA/lspet/train.json --images DATA/lspet/images --out lspet_filled.json
    """
    set_threads(threads)
    from posecli.pose.estimator import PoseEstimator
    from posecli.training.filled_labels import fill_labels

    # no second look: a network for heads that is trained on these labels would be taught by the one before it
    estimator = PoseEstimator.load(weights, head_weights=None, device=device, is_mirrored=True)
    with console.progress("fill in", unit="steps") as line:
        filled, total = fill_labels(
            estimator,
            annotations,
            images,
            out,
            min_score=min_score,
            min_height_px=min_height,
            overwrite=overwrite,
            progress=line,
        )
    console.info(f"wrote {out}: {filled} of {total} people got points")


app.command("pack")(pack.pack)
