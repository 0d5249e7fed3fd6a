"""Time and memory of one block against the number of tokens: GLSMamba's global block beside attention of the same width.

    pip install 'posecli[bench]'        (matplotlib, for the plot)
    python tests/benchmarks/bench_linear_cost.py [--plot tests/benchmarks/linear_cost.png] [--json]

Windows of 3 to 27 frames of 64x48 tokens, and of 5 frames of 64x48 to 96x72 tokens, width 64, one thread. Three blocks: GLSMamba's GSM
(six scans, four states, as in glsmamba-s), a transformer block with torch's fused attention, and one that writes its attention
matrix out. Each size runs in a process of its own: processor time, the least of several runs, and how far the resident memory rises
above what was there before. What would need more than ``--max-gb`` or ``--max-seconds`` is not run; the plot goes on dashed, by the
fitted slope.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WIDTH, STATES, RANK, HEADS = 64, 4, 4, 1
GRIDS = [(frames, 64, 48) for frames in (3, 4, 5, 9, 15, 21, 27)] + [(5, 80, 60), (5, 96, 72)]
GSM, FUSED, WRITTEN = "GLSMamba block (GSM)", "attention, fused", "attention, matrix written out"
KINDS = (GSM, FUSED, WRITTEN)
COLOURS = {GSM: "#0b6bcb", FUSED: "#d9541e", WRITTEN: "#8a8a8a"}
# Where two slopes end at the same height; points.
LABEL_SHIFTS = {("megabytes", GSM): 7, ("megabytes", FUSED): -7}
TIMED_S, MIN_RUNS = 2.0, 3


@dataclass(frozen=True)
class Point:
    """One block at one size; ``None`` where it was not run."""

    kind: str
    grid: tuple[int, int, int]
    milliseconds: float | None
    megabytes: float | None

    @property
    def tokens(self) -> int:
        """L."""
        return math.prod(self.grid)


def build(kind: str, grid: tuple[int, int, int]) -> Callable[[Any], Any]:
    """A block for (1, T, H, W, D) tokens."""
    from torch import nn
    from torch.nn import functional

    from posecli.dense import Dense
    from posecli.pose.blocks import FeedForward, GlobalBlock
    from posecli.pose.config import PoseConfig, ViTPoseConfig

    if kind == GSM:
        config = PoseConfig(
            encoder=ViTPoseConfig(),
            crop_hw=(4 * grid[1], 4 * grid[2]),
            num_frames=grid[0],
            d_model=WIDTH,
            d_state=STATES,
            dt_rank=RANK,
            merge_width=16,
        )
        return GlobalBlock(config, 0.0).eval().requires_grad_(False)

    class AttentionBlock(nn.Module):
        """A standard pre-norm transformer block over all tokens of the window."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.norm_ffn = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.proj = Dense(WIDTH, 3 * WIDTH), Dense(WIDTH, WIDTH)
            self.ffn = FeedForward(WIDTH, 2 * WIDTH)

        def forward(self, tokens):
            x = tokens.reshape(1, -1, WIDTH)
            qkv = self.qkv(self.norm(x)).view(1, -1, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
            if kind == FUSED:
                mixed = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
            else:
                mixed = (qkv[0] @ qkv[1].transpose(-1, -2) * (WIDTH // HEADS) ** -0.5).softmax(dim=-1) @ qkv[2]
            x = x + self.proj(mixed.transpose(1, 2).reshape(x.shape))
            return (x + self.ffn(self.norm_ffn(x))).view_as(tokens)

    return AttentionBlock().eval().requires_grad_(False)


def serve(kind: str, grid: tuple[int, int, int]) -> None:
    """The child: one size, a JSON list [ms, MB] on stdout."""
    import torch

    from posecli.pipeline.allocator import keep_freed_memory

    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()  # as `posecli annotate` does: else the kernel's zeroing of pages is timed too
    small, block = build(kind, (3, 16, 12)), build(kind, grid)
    with torch.inference_mode():
        small(torch.randn(1, 3, 16, 12, WIDTH))  # loads and compiles what there is to
        tokens = torch.randn(1, *grid, WIDTH)
        before = _memory_kb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        seconds: list[float] = []
        while sum(seconds) < TIMED_S or (len(seconds) < MIN_RUNS and sum(seconds) < 5 * TIMED_S):
            start = time.process_time()
            block(tokens)
            seconds.append(time.process_time() - start)
            if len(seconds) == 1:
                risen = _memory_kb("VmHWM") - before
    sys.stdout.write(json.dumps([1e3 * min(seconds), risen * 1024 / 1e6]))


def _memory_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def measure(max_gb: float, max_seconds: float) -> list[Point]:
    """All blocks at all sizes, small ones first; a block is given up where it would need too much."""
    points: list[Point] = []
    for grid in sorted(GRIDS, key=math.prod):
        for kind in KINDS:
            tokens = math.prod(grid)
            smaller = [p for p in points if p.kind == kind and p.milliseconds is not None]
            expected_s = smaller[-1].milliseconds / 1e3 * (tokens / smaller[-1].tokens) ** 2 if smaller else 0.0  # type: ignore[operator]
            # scores and their softmax
            needed_gb = 2 * HEADS * tokens**2 * 4 / 1e9 if kind == WRITTEN else 0.0
            if kind != GSM and (needed_gb > max_gb or expected_s > max_seconds):
                points.append(Point(kind, grid, None, None))
                continue
            command = [sys.executable, __file__, "--serve", kind, *map(str, grid)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
            points.append(Point(kind, grid, *json.loads(done.stdout)))
            sys.stderr.write(f"{kind:30s} {'x'.join(map(str, grid)):9s} {points[-1].milliseconds:9.1f} ms\n")
    return points


def fit(points: list[Point], value: str) -> tuple[float, float] | None:
    """Slope and intercept of log value over log tokens; ``None`` with fewer than three sizes."""
    known = [(math.log(p.tokens), math.log(getattr(p, value))) for p in points if getattr(p, value)]
    if len(known) < 3:
        return None
    mean_x, mean_y = (sum(column) / len(known) for column in zip(*known, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in known) / sum((x - mean_x) ** 2 for x, _ in known)
    return slope, mean_y - slope * mean_x


def plot(points: list[Point], path: Path) -> None:
    """Two panels, time and memory, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 10.5, "axes.spines.top": False, "axes.spines.right": False})
    figure, panels = plt.subplots(1, 2, figsize=(9.0, 4.3), dpi=200, layout="constrained")
    texts = (("milliseconds", "Time of one block"), ("megabytes", "Memory of one block"))
    for panel, (value, title) in zip(panels, texts, strict=True):
        for kind in KINDS:
            _draw(panel, [p for p in points if p.kind == kind], value, COLOURS[kind])
        panel.set(xscale="log", yscale="log", title=title, xlabel="tokens in a window")
        _ticks(panel, value)
    _legend(figure, panels[0])
    figure.savefig(path)
    plt.close(figure)


def _legend(figure: Any, panel: Any) -> None:
    """Three columns: a block above, a kind of mark below."""
    from matplotlib.lines import Line2D

    blocks, names = panel.get_legend_handles_labels()
    dark: dict[str, Any] = {"color": "#303030", "markersize": 5.5}
    marks = [Line2D([], [], linestyle="", marker=marker, **dark) for marker in "os"]
    marks.append(Line2D([], [], linestyle=(0, (3, 3)), linewidth=1.2, color="#303030"))
    meanings = ["3 to 27 frames of 64 × 48", "5 frames of 80 × 60, 96 × 72", "not run: by the fitted slope"]
    figure.legend(
        [handle for pair in zip(blocks, marks, strict=True) for handle in pair],
        [text for pair in zip(names, meanings, strict=True) for text in pair],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=10,
    )


def _draw(panel: Any, points: list[Point], value: str, colour: str) -> None:
    """Circles for more frames, squares for finer grids, the fitted line, and its slope at the end."""
    known = [p for p in points if getattr(p, value) is not None]
    for is_finer, marker in ((False, "o"), (True, "s")):
        chosen = [p for p in known if (p.grid[1:] != (64, 48)) == is_finer]
        ys = [getattr(p, value) for p in chosen]
        panel.plot(
            [p.tokens for p in chosen],
            ys,
            marker,
            color=colour,
            markersize=5.5,
            label=None if is_finer else points[0].kind,
            zorder=3,
        )
    fitted = fit(points, value)
    if fitted is None:
        return
    slope, intercept = fitted
    measured = [min(p.tokens for p in known), max(p.tokens for p in known)]
    beyond = [measured[1], max(p.tokens for p in points)]

    def line(tokens: list[int]) -> list[float]:
        return [math.exp(intercept) * t**slope for t in tokens]

    panel.plot(measured, line(measured), color=colour, linewidth=1.6)
    if beyond[1] > beyond[0]:
        panel.plot(beyond, line(beyond), color=colour, linewidth=1.2, linestyle=(0, (3, 3)))
    panel.annotate(
        f"slope {slope:.2f}",
        (beyond[1], line(beyond)[1]),
        xytext=(6, LABEL_SHIFTS.get((value, points[0].kind), 0)),
        textcoords="offset points",
        color=colour,
        va="center",
        fontsize=10,
        annotation_clip=False,
    )


def _ticks(panel: Any, value: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    tokens = [10_000, 20_000, 40_000, 80_000]
    panel.set_xticks(tokens, [f"{t // 1000}k" for t in tokens])
    panel.set_xlim(8_500, 150_000)
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(which="minor", length=0)
    panel.grid(which="major", color="#e4e4e4", linewidth=0.8)
    panel.set_axisbelow(True)

    def name(number: float, _: int) -> str:
        large, small, step = ("s", "ms", 1000) if value == "milliseconds" else ("GB", "MB", 1000)
        return f"{number / step:g} {large}" if number >= step else f"{number:g} {small}"

    panel.yaxis.set_major_formatter(FuncFormatter(name))
    panel.yaxis.set_minor_formatter(NullFormatter())


def main() -> None:
    """Measure, print, and draw if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, help="PNG to write")
    parser.add_argument("--redraw", type=Path, help="draw from the numbers that --json wrote to this file")
    parser.add_argument("--max-gb", type=float, default=3.0)
    parser.add_argument("--max-seconds", type=float, default=30.0)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if arguments.redraw:
        rows = json.loads(arguments.redraw.read_text())["points"]
        points = [Point(row["kind"], tuple(row["grid"]), row["ms"], row["mb"]) for row in rows]
    else:
        points = measure(arguments.max_gb, arguments.max_seconds)
    slopes = {
        kind: {
            value: None if (found := fit([p for p in points if p.kind == kind], value)) is None else found[0]
            for value in ("milliseconds", "megabytes")
        }
        for kind in KINDS
    }
    if arguments.json:
        rows = [
            {"kind": p.kind, "grid": p.grid, "tokens": p.tokens, "ms": p.milliseconds, "mb": p.megabytes}
            for p in points
        ]
        sys.stdout.write(
            json.dumps({"width": WIDTH, "load": os.getloadavg()[0], "points": rows, "slopes": slopes}) + "\n"
        )
    else:
        for p in points:
            cells = "      not run" if p.milliseconds is None else f"{p.milliseconds:10.1f} ms {p.megabytes:9.1f} MB"
            sys.stdout.write(f"{p.kind:30s} {'x'.join(map(str, p.grid)):9s} {p.tokens:6d} tokens {cells}\n")
        for kind, by_value in slopes.items():
            texts = [f"{value} {'-' if slope is None else f'{slope:.2f}'}" for value, slope in by_value.items()]
            sys.stdout.write(f"{kind:30s} slopes: {', '.join(texts)}\n")
        sys.stdout.write(f"load average {os.getloadavg()[0]:.2f}\n")
    if arguments.plot:
        plot(points, arguments.plot)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], (int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
    else:
        main()
