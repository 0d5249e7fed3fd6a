"""CUDA graphs: a small batch is recorded once and replayed, because launching its kernels takes longer than running them.

Whatever is recorded is compared with an ordinary run before it is used; where recording fails, or the two differ, everything stays
as it was and `GraphRunner.note` says so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from posecli.out_of_memory import is_out_of_memory

Work = Callable[[Tensor, int | None], Tensor]
MAX_BATCH = 4  # windows: with more, the GPU is busy for longer than the launches take
_MAX_GRAPHS = 8
_WARM_UP_RUNS = 3  # kernels are tuned and workspaces allocated in them
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class _Recorded:
    """A graph, and where it reads and writes."""

    graph: torch.cuda.CUDAGraph
    crops: Tensor
    result: Tensor


class GraphRunner:
    """Runs work on a CUDA device, small batches as graphs.

    Args:
        work: From crops (B, t, H, W, 3) uint8 on the device and the wanted frame (or ``None``) to a tensor; the same kernels every
            time for the same shape and frame. Run in inference mode.

    Attributes:
        note: Why graphs are not used any more, if they are not.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._recorded: dict[tuple[tuple[int, ...], int | None], _Recorded] = {}
        self._lock = threading.Lock()
        self.note: str | None = None

    def __call__(self, crops: Tensor, frame: int | None) -> Tensor:
        """``work(crops, frame)``; the result is overwritten by the next call."""
        if self.note is not None or len(crops) > MAX_BATCH:
            return self._work(crops, frame)
        key = (tuple(crops.shape), frame)
        with self._lock:
            recorded = self._recorded.get(key)
            if recorded is None:
                if len(self._recorded) >= _MAX_GRAPHS:
                    return self._work(crops, frame)
                return self._try_to_record(key, crops, frame)
            recorded.crops.copy_(crops)
            recorded.graph.replay()
            return recorded.result

    def _try_to_record(self, key: tuple[tuple[int, ...], int | None], crops: Tensor, frame: int | None) -> Tensor:
        """An ordinary run, whose result is returned; on the way the graph is recorded and compared with it."""
        expected = self._work(crops, frame)
        try:
            recorded = _record(self._work, crops, frame)
            recorded.graph.replay()
            difference = float((recorded.result - expected).abs().max())
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            self.note = f"CUDA graphs are not used: {' '.join(str(error).split())[:200]}"
            return expected
        if not difference <= _TOLERANCE:  # NaN too
            self.note = f"CUDA graphs are not used: a replay differs by {difference:g} from an ordinary run"
            return expected
        self._recorded[key] = recorded
        return expected


def _record(work: Work, crops: Tensor, frame: int | None) -> _Recorded:
    own = crops.clone()
    side = torch.cuda.Stream(crops.device)
    side.wait_stream(torch.cuda.current_stream(crops.device))
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP_RUNS):
            work(own, frame)
    torch.cuda.current_stream(crops.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # thread_local: the detector may be using the device from another thread meanwhile
    with torch.cuda.device(crops.device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = work(own, frame)
    return _Recorded(graph, own, result)
