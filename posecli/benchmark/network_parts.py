"""The forward pass of a pose network, split: what its modules spend themselves, without the modules inside them.

A part that is not a module of its own (an activation, a fused kernel called by its block) counts for the block it belongs to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from posecli.benchmark.clock import Clock, Effort
from posecli.pose.blocks import (
    ChannelAttention,
    DepthwiseConv,
    GlobalBlock,
    MambaBlock,
    Modulation,
    ScanMerging,
    SelectiveScan,
)
from posecli.pose.network import PoseNetwork

ENCODER, TOKENS, HEAD = "encoder", "tokens and positions", "head"
GLOBAL, LOCAL = "global blocks (GSM)", "local blocks (LRM)"
SCAN = "selective scan"
_KINDS: tuple[tuple[type[nn.Module], str], ...] = (
    (SelectiveScan, SCAN),
    (nn.Linear, "matrix products"),
    (DepthwiseConv, "convolutions"),
    (nn.Conv2d, "convolutions"),
    (nn.LayerNorm, "norms"),
    (ChannelAttention, "channel attention"),
    (Modulation, "merging of scans"),
    (ScanMerging, "merging of scans"),
)
_REST = "gates, sums and fused kernels"

Part = tuple[str, str]
"""Part of the network, and kind of work in it ("" where it is not split)."""


@dataclass
class _Stopwatch:
    """Time by part; a part's clock stops while one inside it runs."""

    clock: Clock
    seconds: dict[Part, float] = field(default_factory=lambda: defaultdict(float))
    running: list[tuple[Part, float, float]] = field(default_factory=list)

    def start(self, part: Part) -> None:
        self.running.append((part, self.clock.now_s(), 0.0))

    def stop(self) -> None:
        part, start_s, inside_s = self.running.pop()
        elapsed = self.clock.now_s() - start_s
        self.seconds[part] += elapsed - inside_s
        if self.running:
            outer, outer_start, outer_inside = self.running[-1]
            self.running[-1] = (outer, outer_start, outer_inside + elapsed)


@torch.inference_mode()
def time_parts(network: PoseNetwork, images: Tensor, clock: Clock, effort: Effort) -> dict[Part, float]:
    """Milliseconds of one forward pass, by part.

    Args:
        network: In eval mode, where ``images`` are.
        images: (B, T, 3, H, W), normalised.
        clock: Waits for a GPU at the borders of parts; the parts are scaled so that their sum is that of an undisturbed pass.
        effort: How often.

    Returns:
        Part and kind of work -> ms, in the order of the pass; they sum to the whole.
    """
    whole_ms = clock.least_ms(lambda: network(images), effort)
    least: dict[Part, float] = {}

    def measured() -> None:
        with _hooked(network, clock) as watch:
            network(images)
        for part, seconds in watch.seconds.items():
            least[part] = min(least.get(part, float("inf")), seconds)

    clock.time(measured, effort)
    scale = whole_ms / sum(least.values())
    order = [ENCODER, TOKENS, GLOBAL, LOCAL, HEAD]
    return {part: seconds * scale for part, seconds in sorted(least.items(), key=lambda item: order.index(item[0][0]))}


@contextmanager
def _hooked(network: PoseNetwork, clock: Clock) -> Iterator[_Stopwatch]:
    watch, handles = _Stopwatch(clock), []
    for module, part in _labels(network):

        def before(module: nn.Module, inputs: Any, part: Part = part) -> None:
            watch.start(part)

        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            watch.stop()

        handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield watch
    finally:
        for handle in handles:
            handle.remove()


def _labels(network: PoseNetwork) -> Iterator[tuple[nn.Module, Part]]:
    yield network, (TOKENS, "")
    yield network.encoder, (ENCODER, "")
    yield network.norm, (HEAD, "")
    yield network.head, (HEAD, "")
    for block in network.blocks:
        name = GLOBAL if isinstance(block, GlobalBlock) else LOCAL
        for module in block.modules():
            kind = _kind(module)
            if kind is not None:
                yield module, (name, kind)


def _kind(module: nn.Module) -> str | None:
    if isinstance(module, MambaBlock):
        return _REST
    return next((kind for type_, kind in _KINDS if isinstance(module, type_)), None)
