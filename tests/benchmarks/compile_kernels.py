"""Compiles every Triton kernel for a Hopper GPU, on any x86-64 Linux, without a GPU; what that tells about them.

    python tests/benchmarks/compile_kernels.py [--json] [--all]

Prints registers and stack of each kernel as it is used: spills, that is a stack, make the command fail. Of the scan's kernels it also
counts the instructions of their loops in the machine code and prints the time below which no H200 can run the paper's scan: the larger
of issuing the instructions (one a clock and scheduler), of the special function units (a quarter of a warp a clock) and of moving the
bytes (4.3 TB/s, what copies reach). An estimate made of counts, not a measurement. ``--all`` also compiles the plans that are only
candidates for tuning; those may spill (tuning never chooses one that does), and are marked.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from posecli.pose import deform_triton, norm_gate_triton
from posecli.ssm import triton_backward, triton_forward
from posecli.ssm.triton_math import NUMBERS
from posecli.ssm.triton_plan import Plan, Sizes, backward_candidates, forward_candidates, guess_plan

TARGET = GPUTarget("cuda", 90, 32)
SCHEDULERS, CLOCK_HZ, COPY_BYTES_PER_S = 132 * 4, 1.98e9, 4.3e12  # of an H200
LANES = 32
FUNCTION_CLOCKS = 8  # of a scheduler's special function unit for a warp: 4 lanes a clock
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
WHOLE_NUMBERS = {*NUMBERS, "num_rows", "num_steps", "num_positions"}
TABLES = {"order", "members", "outputs"}
BOUNDS = ("issue", "special_function", "bytes")
PAPER = Sizes(1, 15360, 256, 6, 16, 16, 3, 15360, "float32", "float32")


@dataclass(frozen=True)
class Kernel:
    """One compilation: a kernel with its constants and the types of what it reads."""

    name: str
    function: Any
    constants: dict[str, Any]
    types: dict[str, str] = field(default_factory=dict)
    warps: int = 1
    is_candidate: bool = False


@dataclass(frozen=True)
class Report:
    """What came out. ``loop`` counts the machine instructions of the largest innermost loop."""

    name: str
    registers: int
    stack_bytes: int
    is_candidate: bool
    loop: dict[str, int]


def compile_kernel(kernel: Kernel, folder: Path) -> Report:
    """Compile for the target and read the machine code."""
    names = kernel.function.arg_names
    signature, values, attributes = {}, {}, {}
    for index, name in enumerate(names):
        if name in kernel.constants:
            signature[name], values[(index,)] = "constexpr", kernel.constants[name]
        elif name in WHOLE_NUMBERS:
            signature[name] = "i32"
        elif name == "eps":
            signature[name] = "fp32"
        else:
            signature[name] = "*" + kernel.types.get(name, "i32" if name in TABLES else "fp32")
            attributes[(index,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel.function, signature, values, attributes)
    options = {"num_warps": kernel.warps, "enable_fp_fusion": True}
    binary = folder / "kernel.cubin"
    binary.write_bytes(triton.compile(source, target=TARGET, options=options).asm["cubin"])
    usage = _tool("cuobjdump", "--dump-resource-usage", str(binary))
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    assert found is not None, usage
    loop = innermost_loop(_tool("nvdisasm", "-c", str(binary)))
    return Report(kernel.name, int(found[1]), int(found[2]), kernel.is_candidate, loop)


def innermost_loop(code: str) -> dict[str, int]:
    """Instructions of the largest loop that contains no other, by kind."""
    lines: list[str] = []
    labels: dict[str, int] = {}
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(lines)
        elif instruction := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            lines.append(instruction[1].strip())
    spans = []
    for end, line in enumerate(lines):
        jump = re.search(r"\bBRA\b.*?(\.L_x_\d+)", line)
        if jump and labels.get(jump[1], end) < end:
            spans.append((labels[jump[1]], end + 1))
    inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    if not inner:
        return {}
    begin, end = max(inner, key=lambda span: span[1] - span[0])
    words = (re.sub(r"^@!?U?P\w+ ", "", line).split()[0].split(".")[0] for line in lines[begin:end])
    return dict(Counter(words).most_common())


def _tool(name: str, *arguments: str) -> str:
    return subprocess.run([str(TOOLS / name), *arguments], capture_output=True, text=True, check=True).stdout


def scan_kernels(sizes: Sizes, plan: Plan, label: str, *, is_candidate: bool = False) -> Iterator[Kernel]:
    """The forward kernels of a plan."""
    common = _scan_constants(sizes, plan) | {"BLOCK": plan.block, "UNROLL": plan.unroll}
    types = {"x": _short(sizes.x_type), "proj": _short(sizes.proj_type)}
    how = f"{label}, block {plan.block}, unroll {plan.unroll}"
    rest: dict[str, Any] = {"types": types, "is_candidate": is_candidate}
    if plan.keeps_deltas:
        flags: dict[str, Any] = {"KEEPS_DELTAS": True}
        yield Kernel(f"chunk_states {how}", triton_forward.chunk_states, common | flags, **rest)
    flags = {"HAS_DELTAS": plan.keeps_deltas, "HAS_STATES": True, "IS_FIRST": False}
    note = "" if plan.keeps_deltas else ", own deltas"
    yield Kernel(f"chunk_outputs {how}{note}", triton_forward.chunk_outputs, common | flags, **rest)


def gradient_kernels(sizes: Sizes, plan: Plan, label: str, *, is_candidate: bool = False) -> Iterator[Kernel]:
    """The backward kernels of a plan."""
    common = _scan_constants(sizes, plan) | {"BLOCK": plan.block}
    rest: dict[str, Any] = {
        "types": {"x": _short(sizes.x_type), "proj": _short(sizes.proj_type)},
        "is_candidate": is_candidate,
    }
    how = f"{label}, block {plan.block}"
    flags: dict[str, Any] = {"BLOCK": plan.back_block, "TILE": plan.tile, "GROUP": plan.group}
    yield Kernel(
        f"chunk_gradients {label}, block {plan.back_block}, {plan.tile} steps x {plan.group} states",
        *(triton_backward.chunk_gradients, common | flags),
        **rest,
    )
    if not is_candidate:
        flags = {"TILE": plan.tile, "UNROLL": 2, "HAS_STATES": True}
        yield Kernel(f"chunk_checkpoints {how}", triton_backward.chunk_checkpoints, common | flags, **rest)
        yield Kernel(f"chunk_adjoints {how}", triton_backward.chunk_adjoints, common | {"UNROLL": 2}, **rest)


def _scan_constants(sizes: Sizes, plan: Plan) -> dict[str, Any]:
    return {
        "DIRECTIONS": sizes.directions,
        "WIDTH": sizes.width,
        "STATES": sizes.states,
        "RANK": sizes.rank,
        "IS_EVEN": sizes.seg_len % plan.chunk == 0,
        "IN_WORDS": True,
    }


def _short(dtype: str) -> str:
    return {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[dtype]


def other_kernels() -> Iterator[Kernel]:
    """Carrying of states, norm and gate, deformable sampling: widths of `s` and `b`."""
    flags = {"DIRECTIONS": 6, "WIDTH": 256, "STATES": 16, "BLOCK": 64, "UNROLL": 8, "IS_REVERSED": True}
    yield Kernel("carry_states D256", triton_forward.carry_states, flags)
    for width in (64, 256):
        for kind in ("fp32", "bf16"):
            options = norm_gate_triton.tile(width)
            sizes = {name: options[name] for name in ("CHANNELS", "BLOCK", "ROWS")}
            types = dict.fromkeys(("main", "gate", "upstream", "out", "d_main", "d_gate"), kind)
            rest: dict[str, Any] = {"types": types, "warps": options["num_warps"]}
            yield Kernel(f"norm_gate_forward E{width} {kind}", norm_gate_triton.norm_gate_forward, sizes, **rest)
            yield Kernel(f"norm_gate_backward E{width} {kind}", norm_gate_triton.norm_gate_backward, sizes, **rest)
    for width, grid in ((64, (48, 40)), (256, (64, 48))):
        sizes = {"FRAMES": 5, "HEIGHT": grid[0], "WIDTH": grid[1], "CHANNELS": width, "BLOCK": width, "FRAME_BLOCK": 8}
        rest = {"types": {"d_value": "i64"}, "warps": 4}
        yield Kernel(f"deform_forward C{width}", deform_triton.deform_forward, sizes, **rest)
        yield Kernel(f"deform_backward C{width}", deform_triton.deform_backward, sizes, **rest)


def all_kernels(*, with_candidates: bool) -> Iterator[Kernel]:
    """What the guessed plans use for 4, 8 and 16 states and three widths; with candidates, everything that tuning tries."""
    cases = {
        "D64 N4": Sizes(1, 9600, 64, 6, 4, 4, 3, 9600, "float32", "float32"),
        "D64 N4 bf16": Sizes(1, 9600, 64, 6, 4, 4, 3, 9600, "bfloat16", "bfloat16"),
        "D128 N8": Sizes(1, 15360, 128, 6, 8, 8, 3, 15360, "float32", "float32"),
        "D256 N16": PAPER,
        "D256 N16 windows, bf16": PAPER._replace(
            directions=2, num_outputs=1, seg_len=250, x_type="bfloat16", proj_type="bfloat16"
        ),
    }
    yield from other_kernels()
    for label, sizes in cases.items():
        plan = guess_plan(sizes)
        yield from scan_kernels(sizes, plan, label)
        yield from gradient_kernels(sizes, plan, label)
        if with_candidates:
            forward = {(p.block, p.unroll, p.keeps_deltas): p for p in forward_candidates(sizes)}
            for candidate in forward.values():
                yield from scan_kernels(sizes, candidate, label, is_candidate=True)
            for candidate in backward_candidates(sizes, plan):
                yield from gradient_kernels(sizes, candidate, label, is_candidate=True)


def roofline(reports: dict[str, Report]) -> dict[str, Any]:
    """Bounds of the paper's forward scan, from the loops of the two kernels that do the work."""
    plan = guess_plan(PAPER)
    warp_steps = PAPER.batch * PAPER.length * PAPER.directions * PAPER.width / LANES
    chunks = PAPER.length / plan.chunk
    rows, clocks, function_clocks = {}, 0.0, 0.0
    for kernel, share in (("chunk_states", 1.0), ("chunk_outputs", 1.0)):
        (report,) = (
            r for name, r in reports.items() if name.startswith(f"{kernel} D256 N16, block") and not r.is_candidate
        )
        steps = plan.unroll * plan.block / LANES
        issued, functions = sum(report.loop.values()) / steps, report.loop["MUFU"] / steps
        rows[kernel] = {"instructions": issued, "of_them_special_functions": functions}
        clocks += share * issued
        function_clocks += share * functions * FUNCTION_CLOCKS
    rate = SCHEDULERS * CLOCK_HZ / 1e6 / warp_steps  # clocks a step, to microseconds
    tokens = 4 * PAPER.batch * PAPER.length
    per_token = PAPER.width + PAPER.directions * (PAPER.rank + 2 * PAPER.states)
    states = 4 * 4 * chunks * PAPER.directions * PAPER.states * PAPER.width
    deltas = 2 * tokens * PAPER.directions * PAPER.width  # written once, read once
    outputs = tokens * PAPER.num_outputs * PAPER.width * 3  # written, read, written
    moved = 2 * tokens * per_token + states + deltas + outputs
    return {
        "per_step_and_32_channels": rows,
        "issue_bound_us": clocks / rate,
        "special_function_bound_us": function_clocks / rate,
        "bytes_bound_us": moved / COPY_BYTES_PER_S * 1e6,
        "megabytes_moved": moved / 1e6,
    }


def show(reports: list[Report], bounds: dict[str, Any]) -> None:
    """The table and the roofline, for people."""
    width = max(len(report.name) for report in reports)
    sys.stdout.write(f"{'kernel':<{width}}  registers  stack  loop (of it special functions)\n")
    for report in reports:
        note = "  candidate, never chosen" if report.is_candidate and report.stack_bytes else ""
        counts = f"{sum(report.loop.values()):5d} ({report.loop.get('MUFU', 0)})"
        sys.stdout.write(f"{report.name:<{width}}  {report.registers:9d}  {report.stack_bytes:5d}  {counts}{note}\n")
    sys.stdout.write(
        "\nForward scan, 6 orders, L = 15,360, D = 256, N = 16, float32, batch 1, on an H200 (counted, not measured):\n"
    )
    for kernel, row in bounds["per_step_and_32_channels"].items():
        text = (
            "{instructions:.0f} instructions a step and 32 channels, {of_them_special_functions:.0f} special functions"
        )
        sys.stdout.write(f"  {kernel:<13} {text.format(**row)}\n")
    for name in BOUNDS:
        sys.stdout.write(f"  {name.replace('_', ' ') + ' bound':<23} {bounds[f'{name}_bound_us']:6.0f} us\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--all", action="store_true", help="also the candidates for tuning")
    options = parser.parse_args()
    found: dict[str, Report] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kernel in all_kernels(with_candidates=options.all):
            if kernel.name not in found:  # a candidate may be what is used anyway
                found[kernel.name] = compile_kernel(kernel, Path(folder))
    reports, bounds = list(found.values()), roofline(found)
    if options.json:
        content = {"kernels": [asdict(report) for report in reports], "roofline": bounds}
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
    else:
        show(reports, bounds)
    spilling = [report.name for report in reports if report.stack_bytes and not report.is_candidate]
    for name in spilling:
        sys.stderr.write(f"{name} spills\n")
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
