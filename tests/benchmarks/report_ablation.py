"""Table, JSON and plot of what `bench_ablation.py` has trained so far; it calls this at its end.

    python tests/benchmarks/report_ablation.py results.runs --out results.json [--plot ablation.png]

PCK pools the points of all test windows and is the mean over seeds; in brackets the difference to the full network of the same seeds.
Intervals: 95 % bootstrap over windows (not over seeds: values by seed are in the JSON); those of differences are paired.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posecli.atomic import write_atomic
from posecli.errors import ConfigError, FormatError

FULL = "full"
# Groups of the plot: the variants from below, and what the full network is called that stands at the end.
GROUPS: Mapping[str, Mapping[str, str]] = {
    "frames": {
        "t1": "T = 1, as many windows",
        "t1-frames": "T = 1, as many frames",
        "t1-long": "T = 1, 5 × the updates",
        "t3": "T = 3",
        FULL: "T = 5",
    },
    "scans": {"unified": "unified scan", "unified-spatial": "+ spatial", FULL: "+ temporal"},
    "merging": {"addition": "scans added", FULL: "scans merged by STMM"},
    "blocks": {"linear": "encoder, linear head", "no-gsm": "LRM", "no-lrm": "GSM", FULL: "GSM + LRM"},
}
PANELS = {"rendered": "As rendered", "middle frame spoiled": "Middle frame spoiled"}
SHOWN = "limb_0.1"
RESAMPLES = 2000
FAR = "linear"  # may lie so far off that the scale would hide the rest
OWN_COLOUR, FULL_COLOUR = "#d9541e", "#0b6bcb"


def summarise(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """By variant: what it cost, and by condition and measure its PCK with intervals, alone and against full of the same seeds."""
    by_variant: dict[str, dict[int, Any]] = {}
    for result in results:
        by_variant.setdefault(result["variant"], {})[result["seed"]] = result
    summary: dict[str, Any] = {}
    for name in (name for group in GROUPS.values() for name in group if name in by_variant):
        own = by_variant[name]
        one = next(iter(own.values()))
        summary[name] = {
            "seeds": sorted(own),
            "parameters": one["parameters"],
            "updates": one["updates"],
            "seconds": float(np.mean([result["seconds"] for result in own.values()])),
            "training_loss": float(np.mean([result["training_loss"] for result in own.values()])),
            "pck": {
                condition: {measure: _compare(own, by_variant.get(FULL, {}), condition, measure) for measure in right}
                for condition, right in one["right"].items()
            },
        }
    return summary


def _compare(own: dict[int, Any], whole: dict[int, Any], condition: str, measure: str) -> dict[str, Any]:
    counts = np.array(next(iter(own.values()))["counts"][measure])

    def right(results: dict[int, Any], seeds: Sequence[int]) -> NDArray[np.float64]:
        return np.mean([results[seed]["right"][condition][measure] for seed in seeds], axis=0)

    seeds, shared = sorted(own), sorted(set(own) & set(whole))
    entry: dict[str, Any] = interval(right(own, seeds), counts)
    entry["by_seed"] = [100.0 * sum(own[seed]["right"][condition][measure]) / counts.sum() for seed in seeds]
    if shared:
        entry["against_full"] = interval(right(own, shared) - right(whole, shared), counts)
    return entry


def interval(right: NDArray[np.float64], counts: NDArray[np.int64]) -> dict[str, Any]:
    """Per cent of points right (N,) of those counted (N,), pooled over windows, and its 95 % bootstrap interval over windows."""
    size = len(counts)
    weights = np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), RESAMPLES)
    low, high = np.percentile(100.0 * (weights @ right) / (weights @ counts), [2.5, 97.5])
    return {"value": float(100.0 * right.sum() / counts.sum()), "interval": [float(low), float(high)]}


def plot(summary: dict[str, Any], path: Path) -> None:
    """A row a variant, in groups that end with full; a panel a condition."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows: list[tuple[float, str, str]] = []
    place = 0.0
    for group in GROUPS.values():
        members = [name for name in group if name in summary]
        if members != [FULL]:
            rows += [(place + number, name, group[name]) for number, name in enumerate(members)]
            place += len(members) + 0.7
    plt.rcParams.update({"font.size": 10.5, "axes.spines.top": False, "axes.spines.right": False})
    size = (9.0, 1.2 + 0.27 * place)
    figure, panels = plt.subplots(1, len(PANELS), figsize=size, dpi=200, layout="constrained", sharey=True)
    for panel, (condition, title) in zip(panels, PANELS.items(), strict=True):
        _draw(panel, {name: entry["pck"][condition][SHOWN] for name, entry in summary.items()}, rows)
        panel.set(title=title, xlabel="PCK@0.1 of the box, limb points, %")
        panel.grid(axis="x", color="#e4e4e4", linewidth=0.8)
        panel.set_axisbelow(True)
        panel.tick_params(axis="y", length=0)
    panels[0].set_yticks([row[0] for row in rows], [row[2] for row in rows])
    panels[0].invert_yaxis()
    figure.savefig(path)
    plt.close(figure)


def _draw(panel: Any, entries: Mapping[str, Any], rows: Sequence[tuple[float, str, str]]) -> None:
    """Dots with the interval of the difference to full, whose value is the line; a triangle for what lies far to the left."""
    whole = entries[FULL]["value"]
    bars = {
        name: [whole + end for end in entry["against_full"]["interval"]]
        for name, entry in entries.items()
        if name != FULL
    }
    near = [end for name, ends in bars.items() if name != FAR for end in ends]
    low, high = min([whole - 1.0, *near]), max([whole + 1.0, *near])
    left, right = low - 0.12 * (high - low), high + 0.3 * (high - low)
    panel.set_xlim(left, right)
    panel.axvline(whole, color=FULL_COLOUR, linewidth=1.0, alpha=0.5)
    for place, name, _ in rows:
        value, colour = entries[name]["value"], FULL_COLOUR if name == FULL else OWN_COLOUR
        is_far = value < left
        at = left + 0.03 * (right - left) if is_far else value
        panel.plot(at, place, "<" if is_far else "o", color=colour, markersize=5.5, zorder=3)
        ends = [] if is_far else bars.get(name, [])
        panel.plot(ends, [place] * len(ends), color=colour, linewidth=1.6, solid_capstyle="butt")
        beside = (max([at, *ends]), place)
        panel.annotate(
            f"{value:.1f}", beside, (7, 0), textcoords="offset points", va="center", fontsize=9.5, color=colour
        )


def print_table(summary: dict[str, Any]) -> None:
    """By condition, PCK of limb points beside its difference to full, then other measures; at last what each variant cost."""
    others = {"all": "all_0.1", "seen": "seen_limb_0.1", "hidden": "hidden_limb_0.1", "limb 0.05": "limb_0.05"}
    for condition in dict.fromkeys(key for entry in summary.values() for key in entry["pck"]):
        head = " ".join(f"{name:>9s}" for name in others)
        sys.stdout.write(f"\n{condition:22s}   PCK@0.1 limb (against full) {head}\n")
        for name, entry in summary.items():
            if condition in entry["pck"]:
                pck = entry["pck"][condition]
                numbers = " ".join(f"{pck[key]['value']:9.1f}" for key in others.values())
                sys.stdout.write(f"{name:22s} {pck[SHOWN]['value']:6.1f} {_difference(pck[SHOWN]):24s} {numbers}\n")
    sys.stdout.write("\nwithout encoder          parameters  training loss  processor seconds  seeds\n")
    for name, entry in summary.items():
        loss, seconds = entry["training_loss"], entry["seconds"]
        seeds = ", ".join(map(str, entry["seeds"]))
        sys.stdout.write(f"{name:22s} {entry['parameters']:12d} {loss:14.3f} {seconds:18.0f}  {seeds}\n")


def _difference(entry: dict[str, Any]) -> str:
    if "against_full" not in entry:
        return ""
    against = entry["against_full"]
    low, high = against["interval"]
    return f"({against['value']:+5.1f}: {low:+5.1f} to {high:+5.1f})"


def main() -> None:
    """Read the runs, print, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder that bench_ablation.py writes beside its results")
    parser.add_argument("--out", type=Path, required=True, help="JSON to write")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    arguments = parser.parse_args()
    results = [json.loads(path.read_text()) for path in sorted(arguments.runs.glob("seed*.json"))]
    if not results:
        raise FormatError(f"{arguments.runs}: no variant is trained yet", hint="run bench_ablation.py")
    if any(result["settings"] != results[0]["settings"] for result in results):
        raise ConfigError(f"{arguments.runs}: results of different settings", hint="remove those of one")
    summary = summarise(results)
    content = json.dumps({"settings": results[0]["settings"], "variants": summary}, indent=1)
    write_atomic(arguments.out, content.encode(), overwrite=True)
    print_table(summary)
    if arguments.plot and FULL not in summary:
        raise ConfigError("the plot compares with the variant full, which is not trained yet")
    if arguments.plot:
        plot(summary, arguments.plot)


if __name__ == "__main__":
    main()
