"""The one entry point of the selective scan: several directions over the same tokens, summed per output group.

Letters, official Mamba names: B batch, L tokens, D width (channels), K directions, G output groups, N state size (d_state), R rank
of the step size (dt_rank). A, B, C, D are the matrices of the state-space model; "D" the parameter is the skip weight.

Backends:

    cpu        numba kernels, float32, multi-threaded, D a multiple of 16
    triton     GPU kernels; x and proj read as they are (float32 or half), float32 inside and out; tried on the device before first use
    mamba      mamba-ssm's CUDA kernel, one direction after the other, with the permuted copies it needs; only when asked for
    chunked    plain torch, any device and floating type, its own backward; 20 to 40 times slower than cpu on a CPU
    reference  the recurrence step by step, the oracle; only for tests and tiny inputs
"""

from __future__ import annotations

import importlib.util
import os
import warnings
import weakref
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from posecli.errors import ConfigError, DeviceError
from posecli.ssm.orders import OrderTable, global_orders

ENVIRONMENT_VARIABLE = "POSECLI_SCAN_BACKEND"
LANE_MULTIPLE = 16
_HALVES = (torch.float16, torch.bfloat16)

Scan = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, tuple[int, ...], int], Tensor]


class ShapeError(ConfigError, ValueError):
    """Arguments of the scan do not fit together, or not the backend."""


def multi_scan(
    x: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D: Tensor,
    order: Tensor | OrderTable,
    *,
    groups: tuple[int, ...] | None = None,
    seg_len: int | None = None,
    backend: str = "auto",
) -> Tensor:
    """Selective scan of tokens along several orders.

    For direction k the tokens are visited as ``order[k]`` says; ``delta = softplus(dt_low @ dt_weight + dt_bias)``,
    ``h = exp(delta * A) * h + delta * B * x``, ``out = C . h + D * x`` with ``A = -exp(A_log)``. Each result goes back to the place
    of its token and is added to the output of its group. Differentiable in the first six arguments. Computed in float32 (float64
    if x is float64), also under autocast.

    Args:
        x: (B, L, D) tokens.
        proj: (B, L, K, R + 2 N) for each token, not permuted, and direction: dt_low, then B, then C.
        dt_weight: (K, R, D).
        dt_bias: (K, D).
        A_log: (K, N, D).
        D: (K, D) skip weights.
        order: (K, L) int32, each row a permutation of 0..L-1.
        groups: Output group of each direction; all 0 by default. Every number from 0 to the largest must occur.
        seg_len: The state is reset every so many steps of an order; never by default.
        backend: A name of ``available_backends`` or "auto".

    Returns:
        (B, G, L, D), float32 (or float64), one sum per group.

    Raises:
        ShapeError: Shapes that do not fit, a row of ``order`` that is no permutation, or D not a multiple of 16 on "cpu".
        DeviceError: The backend is not available here.
    """
    order = _as_tensor(order)
    groups = (0,) * order.shape[0] if groups is None else tuple(groups)
    _check_shapes(x, proj, dt_weight, dt_bias, A_log, D, order, groups)
    segment = _check_segment(x.shape[1], seg_len)
    _check_order(order)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    name = _resolve(backend, x.device, dtype)
    if name == "cpu" and x.shape[2] % LANE_MULTIPLE:
        raise ShapeError(
            f"scan width {x.shape[2]} is not a multiple of {LANE_MULTIPLE}", "widen it, or choose scan backend chunked"
        )
    with torch.autocast(x.device.type, enabled=False):
        keeps_halves = name == "triton"  # it widens what it reads; the others are given wide copies
        inputs = [t if keeps_halves and t.dtype in _HALVES else t.to(dtype) for t in (x, proj)]
        floats = [*inputs, *(tensor.to(dtype) for tensor in (dt_weight, dt_bias, A_log, D))]
        return _load(name)(floats[0], floats[1], floats[2], floats[3], floats[4], floats[5], order, groups, segment)


def available_backends() -> dict[str, str]:
    """Each backend's name with "ok", or with the reason why it cannot be used here."""
    return {name: probe() for name, (probe, _) in _BACKENDS.items()}


def resolve_backend(name: str, device: torch.device | str) -> str:
    """The backend that ``name`` stands for on a device.

    "auto" is what the environment variable POSECLI_SCAN_BACKEND says, if set; otherwise "cpu" on a CPU where numba is installed,
    "triton" on a CUDA device where Triton is installed and its kernels pass their self-test (if they do not, a warning says so), else
    "chunked".

    Raises:
        ConfigError: An unknown name.
        DeviceError: A backend that is not available, not on this device, or that fails its self-test there.
    """
    return _resolve(name, torch.device(device), torch.float32)


def self_test(backend: str) -> float:
    """Largest relative error of a backend against the oracle in float64, over the output and all six gradients of a small case.

    Raises:
        ConfigError: An unknown name.
        DeviceError: A backend that is not available here.
    """
    device = "cuda" if backend in _ON_CUDA and not _is_interpreted() else "cpu"
    name = resolve_backend(backend, device)
    arguments = _small_case()
    order = torch.from_numpy(global_orders(3, 4, 5).copy())
    expected = _values_and_gradients([argument.double() for argument in arguments], order, "reference")
    computed = _values_and_gradients([argument.to(device) for argument in arguments], order.to(device), name)
    return max(
        float((found.cpu().double() - true).abs().max() / true.abs().max().clamp_min(1e-30))
        for true, found in zip(expected, computed, strict=True)
    )


def _small_case() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    directions, width, state_size, rank = 6, 16, 4, 4

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x, proj = normal(2, 60, width), normal(2, 60, directions, rank + 2 * state_size)
    weights = normal(directions, rank, width), normal(directions, width) - 2
    return [x, proj, *weights, normal(directions, state_size, width) * 0.5, normal(directions, width)]


def _values_and_gradients(arguments: list[Tensor], order: Tensor, backend: str) -> list[Tensor]:
    leaves = [argument.clone().requires_grad_() for argument in arguments]
    x, proj, dt_weight, dt_bias, A_log, D = leaves
    y = multi_scan(x, proj, dt_weight, dt_bias, A_log, D, order, groups=(0, 1, 2, 0, 1, 2), backend=backend)
    upstream = torch.linspace(-1, 1, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)
    return [y.detach(), *torch.autograd.grad((y * upstream).sum(), leaves)]


def _resolve(name: str, device: torch.device, dtype: torch.dtype) -> str:
    is_chosen = name != "auto"
    if not is_chosen:
        name = os.environ.get(ENVIRONMENT_VARIABLE) or "auto"
        is_chosen = name != "auto"
    if not is_chosen:
        return _choose(device) if dtype == torch.float32 else "chunked"
    if name not in _BACKENDS:
        raise ConfigError(f"scan backend {name!r} is unknown", f"choose auto or one of {', '.join(_BACKENDS)}")
    state = _BACKENDS[name][0]()
    if state != "ok":
        raise DeviceError(f"scan backend {name!r} is not available: {state}", "choose auto")
    if not _takes(name, device, dtype):
        raise DeviceError(f"scan backend {name!r} cannot take {dtype} on device {device}", "choose auto")
    if name == "triton" and not _is_interpreted():
        from posecli.ssm.triton_check import require_triton

        require_triton(device)
    return name


def _choose(device: torch.device) -> str:
    if device.type == "cpu":
        return "cpu" if _probe_cpu() == "ok" else "chunked"
    if device.type != "cuda" or _probe_triton() != "ok":
        return "chunked"
    from posecli.ssm.triton_check import triton_verdict

    verdict = triton_verdict(device)
    if verdict == "ok":
        return "triton"
    if str(device) not in _warned:
        _warned.add(str(device))
        text = f"scan backend triton is not used on {device}: {verdict}; the chunked backend is, which is far slower"
        warnings.warn(text, RuntimeWarning, stacklevel=4)
    return "chunked"


_warned: set[str] = set()


def _takes(name: str, device: torch.device, dtype: torch.dtype) -> bool:
    if name == "cpu":
        return device.type == "cpu" and dtype == torch.float32
    if name in _ON_CUDA:
        is_there = device.type == "cuda" or (name == "triton" and device.type == "cpu" and _is_interpreted())
        return is_there and dtype == torch.float32
    return True


def _as_tensor(order: Tensor | OrderTable) -> Tensor:
    return order if isinstance(order, Tensor) else torch.from_numpy(np.array(order))  # copied: the table is read-only


def _check_shapes(
    x: Tensor,
    proj: Tensor,
    dt_weight: Tensor,
    dt_bias: Tensor,
    A_log: Tensor,
    D: Tensor,
    order: Tensor,
    groups: tuple[int, ...],
) -> None:
    directions, rank, width = dt_weight.shape
    state_size = A_log.shape[1]
    batch, length = x.shape[:2]
    expected = {
        "x": (x, (batch, length, width)),
        "proj": (proj, (batch, length, directions, rank + 2 * state_size)),
        "dt_bias": (dt_bias, (directions, width)),
        "A_log": (A_log, (directions, state_size, width)),
        "D": (D, (directions, width)),
        "order": (order, (directions, length)),
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise ShapeError(f"{name} has shape {tuple(tensor.shape)}, expected {shape}")
    if min(batch, length, directions, rank, state_size, width) < 1:
        raise ShapeError(f"an empty scan: x {tuple(x.shape)}, proj {tuple(proj.shape)}")
    if len(groups) != directions or set(groups) != set(range(max(groups) + 1)):
        raise ShapeError(f"groups {groups} must name, for {directions} directions, every output from 0 on")


def _check_segment(length: int, seg_len: int | None) -> int:
    if seg_len is None:
        return length
    if seg_len < 1 or length % seg_len:
        raise ShapeError(f"seg_len {seg_len} does not divide {length} tokens")
    return seg_len


_checked_orders: dict[int, tuple[weakref.ref[Tensor], int]] = {}


def _check_order(order: Tensor) -> None:
    """Refuse what is no permutation: the kernels do not check an index. A tensor seen before and unchanged is trusted."""
    # a tensor made in inference mode counts no versions: it is looked at each time
    version = None if order.is_inference() else order._version
    known = _checked_orders.get(id(order))
    if known is not None and version is not None and known[0]() is order and known[1] == version:
        return
    if order.dtype != torch.int32:
        raise ShapeError(f"order is {order.dtype}, expected torch.int32")
    steps = torch.arange(order.shape[1], dtype=torch.int32, device=order.device)
    if not torch.equal(order.sort(dim=1).values, steps.expand_as(order)):
        raise ShapeError("a row of order is not a permutation of the tokens")
    key = id(order)
    if version is not None:
        _checked_orders[key] = (weakref.ref(order, lambda _: _checked_orders.pop(key, None)), version)


def _probe_torch() -> str:
    return "ok"


def _probe_cpu() -> str:
    return "ok" if importlib.util.find_spec("numba") else "numba is not installed"


def _probe_triton() -> str:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if _is_interpreted() or torch.cuda.is_available():
        return "ok"
    return "no CUDA device"


def _probe_mamba() -> str:
    if importlib.util.find_spec("selective_scan_cuda") is None:
        return "mamba-ssm's selective_scan_cuda is not installed"
    return "ok" if torch.cuda.is_available() else "no CUDA device"


def _is_interpreted() -> bool:
    """Whether Triton runs kernels step by step on the CPU, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _load_reference() -> Scan:
    from posecli.ssm.reference import scan_reference

    return scan_reference


def _load_cpu() -> Scan:
    from posecli.ssm.cpu import scan_cpu

    return scan_cpu


def _load_chunked() -> Scan:
    from posecli.ssm.torch_chunked import scan_chunked

    return scan_chunked


def _load_triton() -> Scan:
    from posecli.ssm.triton_scan import scan_triton

    return scan_triton


def _load_mamba() -> Scan:
    from posecli.ssm.mamba import scan_mamba

    return scan_mamba


_ON_CUDA = ("triton", "mamba")

# Name -> (why it is or is not usable here, how to load it).
_BACKENDS: dict[str, tuple[Callable[[], str], Callable[[], Scan]]] = {
    "cpu": (_probe_cpu, _load_cpu),
    "chunked": (_probe_torch, _load_chunked),
    "reference": (_probe_torch, _load_reference),
    "triton": (_probe_triton, _load_triton),
    "mamba": (_probe_mamba, _load_mamba),
}


def _load(name: str) -> Scan:
    return _BACKENDS[name][1]()
