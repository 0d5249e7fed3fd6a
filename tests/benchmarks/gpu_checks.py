"""Everything that needs a GPU, in one command: are the kernels right, and how fast are they?

    python tests/benchmarks/gpu_checks.py [--rounds 20] [--skip network] > gpu.json

Parity of the scan, of norm and gate and of deformable sampling with their definitions in float64 at full size; the tuned plans; the
fused scan (six orders, L = 15,360, D = 256, N = 16), forward and with backward, against mamba-ssm's kernel with the copies it needs
(where it is installed) and against plain torch, beside the bounds of `compile_kernels.py`; whole networks in clip mode, with and
without CUDA graphs, against our ViTPose-B encoder a frame. Prints one JSON object; exit code 1 where a result is wrong, 6 without a
CUDA device. Times are the medians of rounds, taken by the device's clock.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from posecli import ssm
from posecli.errors import DeviceError, PoseCliError
from posecli.ssm import available_backends, global_orders, resolve_backend, self_test

multi_scan: Any = ssm.multi_scan  # mypy does not count what a star unpacks in front of other arguments
GRID, GROUPS = (5, 64, 48), (0, 1, 2, 0, 1, 2)
WIDTH, STATES, RANK = 256, 16, 16
LENGTH = GRID[0] * GRID[1] * GRID[2]
EXACT, HALF = 2e-5, 8e-3
DEVICE = "cuda"
PARTS = ("parity", "scan", "network")


def scan_arguments(batch: int, dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], Tensor]:
    """Random arguments of the paper's scan, as of a fresh network, and its orders."""
    generator = torch.Generator(device=DEVICE).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=DEVICE)

    levels = torch.arange(1.0, STATES + 1, device=DEVICE).log().view(1, STATES, 1)
    values = [
        normal(batch, LENGTH, WIDTH).to(dtype),
        normal(batch, LENGTH, 6, RANK + 2 * STATES).to(dtype),
        normal(6, RANK, WIDTH) / RANK**0.5,
        normal(6, WIDTH) - 4,
        levels + 0.1 * normal(6, STATES, WIDTH),
        torch.ones(6, WIDTH, device=DEVICE),
    ]
    return values, torch.from_numpy(global_orders(*GRID).copy()).to(DEVICE)


def results(inputs: list[Tensor], work: Callable[..., Tensor]) -> list[Tensor]:
    """The output, and the gradients of its product with fixed numbers."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    y = work(*leaves)
    upstream = torch.linspace(-1, 1, y.numel(), device=y.device).to(y.dtype).view(y.shape)
    return [y.detach(), *torch.autograd.grad(y, leaves, upstream)]


def errors(inputs: list[Tensor], fast: Callable[..., Tensor], true: Callable[..., Tensor]) -> list[float]:
    """Of output and gradients, relative to the largest value of each."""
    expected = results([tensor.double() for tensor in inputs], true)
    found = results(inputs, fast)
    return [float((f.double() - e).abs().max() / e.abs().max()) for f, e in zip(found, expected, strict=True)]


def check_parity() -> dict[str, Any]:
    """Errors against definitions in float64, and whether all are small enough."""
    from posecli.pose import deform, deform_triton, norm_gate_triton

    fused: Any = norm_gate_triton.norm_gate_triton
    report: dict[str, Any] = {"self_test": self_test("triton")}
    is_right = report["self_test"] < EXACT
    for dtype in (torch.float32, torch.bfloat16):
        inputs, order = scan_arguments(1, dtype)
        fast, true = (scan_on(order, backend) for backend in ("triton", "chunked"))
        report[f"scan {dtype}"] = found = errors(inputs, fast, true)
        half = dtype == torch.bfloat16  # then the gradients of x and proj are bfloat16 too
        is_right &= all(e <= (HALF if half and place in (1, 2) else EXACT) for place, e in enumerate(found))
    twice = [results(inputs, fast) for _ in range(2)]
    report["scan repeats its bits"] = all(map(torch.equal, *twice))

    def definition(x: Tensor, z: Tensor, w: Tensor, b: Tensor, v: Tensor, c: Tensor) -> Tensor:
        gate = functional.silu(functional.layer_norm(z, (WIDTH,), v, c))
        return functional.layer_norm(x, (WIDTH,), w, b) * gate

    inputs = [torch.randn(*shape, device=DEVICE) for shape in [(LENGTH, WIDTH)] * 2 + [(WIDTH,)] * 4]
    report["norm and gate"] = errors(inputs, lambda *a: fused(*a, 1e-5), definition)
    shapes = ((1, *GRID, 64), (1, *GRID[1:], 9, 2), (1, *GRID[1:], 9), (9, 64))
    inputs = [torch.randn(*shape, device=DEVICE) for shape in shapes]
    report["deform"] = errors(inputs, deform_triton.deform_triton, deform.deform_reference)
    is_right &= max(report["norm and gate"] + report["deform"]) <= EXACT
    report["is_right"] = bool(is_right and report["scan repeats its bits"])
    return report


def scan_on(order: Tensor, backend: str) -> Callable[..., Tensor]:
    """The scan on a backend, as a function of its six tensors."""
    return lambda *tensors: multi_scan(*tensors, order, groups=GROUPS, backend=backend)


def microseconds(work: Callable[[], object], rounds: int) -> float:
    """Median of rounds, after three to warm up."""
    for _ in range(3):
        work()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(1e3 * start.elapsed_time(end))
    return statistics.median(times)


def time_scans(rounds: int) -> dict[str, Any]:
    """Forward, and forward with backward, of each backend; the bounds; how many times the bound and how much faster than mamba."""
    compiler = importlib.import_module("compile_kernels")
    plan_kernels = compiler.scan_kernels(compiler.PAPER, compiler.guess_plan(compiler.PAPER), "D256 N16")
    with tempfile.TemporaryDirectory() as folder:
        reports = [compiler.compile_kernel(kernel, Path(folder)) for kernel in plan_kernels]
    report: dict[str, Any] = {"bounds": compiler.roofline({r.name: r for r in reports})}
    for batch in (1, 8):
        for dtype in (torch.float32, torch.bfloat16):
            report[f"batch {batch}, {dtype}"] = row = _time_backends(batch, dtype, rounds)
            if batch == 1:
                bounds = report["bounds"]
                row["times the bound"] = row["triton"]["forward_us"] / max(
                    bounds[f"{b}_bound_us"] for b in compiler.BOUNDS
                )
    return report


def _time_backends(batch: int, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    inputs, order = scan_arguments(batch, dtype)
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    report: dict[str, Any] = {}
    for backend in ("triton", "mamba", "chunked"):
        if available_backends()[backend] != "ok" or (backend == "chunked" and batch > 1):
            continue
        work = scan_on(order, backend)
        count = rounds if backend != "chunked" else 3

        def both(work: Callable[..., Tensor] = work) -> None:
            y = work(*leaves)
            torch.autograd.grad(y, leaves, torch.ones_like(y))

        with torch.no_grad():
            forward = microseconds(lambda work=work: work(*inputs), count)  # type: ignore[misc]
        torch.cuda.reset_peak_memory_stats()
        report[backend] = {"forward_us": forward, "both_us": microseconds(both, count)}
        report[backend]["peak_megabytes"] = torch.cuda.max_memory_allocated() / 1e6
    if "mamba" in report:
        pairs = {name: report["mamba"][name] / report["triton"][name] for name in ("forward_us", "both_us")}
        report["faster than mamba"] = {"forward": pairs["forward_us"], "both": pairs["both_us"]}
    return report


def time_networks(rounds: int) -> dict[str, Any]:
    """Person-frames a second of `s` and `b` in clip mode, and frames a second of a ViTPose-B encoder, in bfloat16 and float32."""
    from posecli.encoder import place
    from posecli.pose.config import ViTPoseConfig, get_pose_config
    from posecli.pose.network import PoseNetwork
    from posecli.pose.vitpose import ViTPoseEncoder

    device = torch.device(DEVICE)
    report: dict[str, Any] = {}
    for name in ("glsmamba-s", "glsmamba-b"):
        config = get_pose_config(name)
        network = PoseNetwork(config).eval()
        place(network, device)
        for batch in (1, 4, 32):
            images = torch.randn(batch, config.num_frames, 3, *config.crop_hw, device=device)
            report[f"{name}, batch {batch}"] = _rates(network, images, batch * config.num_frames, rounds)
        del network
    encoder = ViTPoseEncoder(ViTPoseConfig(), (256, 192)).eval().to(device)
    for batch in (1, 4, 32):
        images = torch.randn(5 * batch, 3, 256, 192, device=device)
        report[f"ViTPose-B encoder, {5 * batch} frames"] = _rates(encoder, images, 5 * batch, rounds)
    for batch in (1, 4, 32):
        ours, theirs = report[f"glsmamba-b, batch {batch}"], report[f"ViTPose-B encoder, {5 * batch} frames"]
        report[f"b over ViTPose-B, batch {batch}"] = {
            kind: theirs[kind] / ours[kind] for kind in ours if isinstance(ours[kind], float) and kind in theirs
        }
    return report


@torch.inference_mode()
def _rates(network: Callable[[Tensor], Tensor], images: Tensor, frames: int, rounds: int) -> dict[str, Any]:
    """Frames a second."""
    report: dict[str, Any] = {}
    for name, is_half in (("float32", False), ("bfloat16", True)):
        with torch.autocast("cuda", torch.bfloat16, enabled=is_half, cache_enabled=False):
            report[name] = 1e6 * frames / microseconds(lambda: network(images), rounds)
            try:
                replay = _record(lambda: network(images))
            except RuntimeError as error:
                report[f"{name}, graph"] = f"not recorded: {' '.join(str(error).split())[:200]}"
                continue
            report[f"{name}, graph"] = 1e6 * frames / microseconds(replay, rounds)
    return report


def _record(work: Callable[[], object]) -> Callable[[], object]:
    """The work as a CUDA graph; it was run before."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def tuned_plans() -> dict[str, Any]:
    """What tuning has kept for this device."""
    from posecli.ssm.triton_tuning import tuning_file

    file = tuning_file(torch.device("cuda"))
    return {"file": str(file), "plans": json.loads(file.read_text()) if file.exists() else {}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="runs of which the median is printed")
    parser.add_argument("--skip", action="append", choices=PARTS, default=[], help="leave a part out; may be repeated")
    options = parser.parse_args()
    try:
        if not torch.cuda.is_available():
            raise DeviceError("no CUDA device", "run this where there is one")
        resolve_backend("triton", "cuda")
    except PoseCliError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    works: dict[str, Callable[[], dict[str, Any]]] = {
        "parity": check_parity,
        "scan": lambda: time_scans(options.rounds),
        "network": lambda: time_networks(options.rounds),
    }
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
    report |= {part: works[part]() for part in PARTS if part not in options.skip}
    report["tuning"] = tuned_plans()
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return 0 if report.get("parity", {}).get("is_right", True) else 1


if __name__ == "__main__":
    sys.exit(main())
