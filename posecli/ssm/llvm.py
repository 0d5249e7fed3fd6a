"""Sixteen-lane float32 arithmetic as LLVM instructions: what ``simd.py`` gives to kernels is put together from these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils

LANES = 16

F32 = ir.FloatType()
I1 = ir.IntType(1)
I16 = ir.IntType(16)
I32 = ir.IntType(32)
VEC = ir.VectorType(F32, LANES)
IVEC = ir.VectorType(I32, LANES)
MASK = ir.VectorType(I1, LANES)
BYTES = ir.IntType(8).as_pointer()

# 2**f on [-0.5, 0.5], highest power first, relative error 1.5e-7.
_EXP2 = (1.326472725e-03, 9.671512786e-03, 5.550733744e-02, 2.402224208e-01, 6.931469776e-01, 1.0)
# log(1 + u) / u on [0, 1]. Dividing by u keeps relative accuracy where a plain log(1 + u) would lose all of it (tiny steps).
_LOG1P = (
    5.232694626e-03, -2.950524331e-02, 7.822596517e-02, -1.366324754e-01, 1.910600796e-01,
    -2.484298266e-01, 3.331909689e-01, -4.999949315e-01, 9.999999699e-01,
)  # fmt: skip
_LOG2_E = 1.4426950408889634


def constant(value: float) -> Any:
    """The number in all lanes."""
    return ir.Constant(VEC, [ir.Constant(F32, float(np.float32(value)))] * LANES)


def integers(values: Sequence[int]) -> Any:
    """A constant vector of int32, for shuffles and masks."""
    return ir.Constant(ir.VectorType(I32, len(values)), [ir.Constant(I32, value) for value in values])


def call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Call an intrinsic function of LLVM by name."""
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)


def fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """A * b + c, rounded once."""
    return call(builder, "llvm.fma.v16f32", VEC, a, b, c)


def polynomial(builder: Any, coefficients: Sequence[float], argument: Any) -> Any:
    """Estrin's scheme: neighbours are joined in pairs, so the additions wait for one another in log2 steps, not in a row."""
    terms = [constant(coefficient) for coefficient in reversed(coefficients)]
    power = argument
    while len(terms) > 1:
        pairs = [fma(builder, high, power, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[len(pairs) * 2 :]
        power = builder.fmul(power, power) if len(terms) > 1 else power
    return terms[0]


def _has_avx512() -> bool:
    settings: Any = numba.config
    if settings.CPU_NAME or settings.CPU_FEATURES:  # compiling for a chosen CPU, not for this one
        return "+avx512f" in str(settings.CPU_FEATURES or "")
    return bool(dict(binding.get_host_cpu_features()).get("avx512f"))


def exp2(builder: Any, exponent: Any) -> Any:
    """2**exponent for exponents <= 0; values below the smallest normal number may come out as that number."""
    use_scalef = _has_avx512()
    if not use_scalef:
        low = builder.fcmp_ordered("<", exponent, constant(-126.0))  # false for NaN, which must stay
        exponent = builder.select(low, constant(-126.0), exponent)
    whole = call(builder, "llvm.rint.v16f32", VEC, exponent)
    fraction = polynomial(builder, _EXP2, builder.fsub(exponent, whole))
    if use_scalef:
        arguments = (fraction, whole, constant(0.0), ir.Constant(I16, -1), ir.Constant(I32, 4))
        return call(builder, "llvm.x86.avx512.mask.scalef.ps.512", VEC, *arguments)
    biased = builder.add(builder.fptosi(whole, IVEC), integers([127] * LANES))
    scale = builder.bitcast(builder.shl(biased, integers([23] * LANES)), VEC)
    return builder.fmul(fraction, scale)


def _exp_of_minus_abs(builder: Any, value: Any) -> Any:
    magnitude = call(builder, "llvm.fabs.v16f32", VEC, value)
    return exp2(builder, builder.fmul(magnitude, constant(-_LOG2_E)))


def softplus(builder: Any, value: Any) -> Any:
    """Log(1 + exp(value))."""
    u = _exp_of_minus_abs(builder, value)
    positive = builder.fcmp_ordered(">", value, constant(0.0))
    return fma(builder, polynomial(builder, _LOG1P, u), u, builder.select(positive, value, constant(0.0)))


def sigmoid(builder: Any, value: Any) -> Any:
    """1 / (1 + exp(-value))."""
    u = _exp_of_minus_abs(builder, value)
    quotient = builder.fdiv(constant(1.0), builder.fadd(constant(1.0), u))
    return builder.select(builder.fcmp_ordered("<", value, constant(0.0)), builder.fmul(u, quotient), quotient)


def inverse_sqrt(builder: Any, value: Any) -> Any:
    """1 / sqrt(value)."""
    return builder.fdiv(constant(1.0), call(builder, "llvm.sqrt.v16f32", VEC, value))


def splat(builder: Any, scalar: Any) -> Any:
    """A scalar value in all lanes."""
    undefined = ir.Constant(VEC, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(undefined, scalar, I32(0)), undefined, integers([0] * LANES))


def address(builder: Any, start: Any, offset: Any, element: Any = F32) -> Any:
    """Pointer to an element behind an address given as an integer."""
    return builder.gep(builder.inttoptr(start, element.as_pointer()), [offset], source_etype=element)


def load(builder: Any, address: Any) -> Any:
    """Sixteen floats, of any alignment."""
    loaded = builder.load(builder.bitcast(address, VEC.as_pointer()), typ=VEC)
    loaded.align = 4
    return loaded


def store(builder: Any, address: Any, value: Any) -> None:
    """Write sixteen floats, of any alignment."""
    builder.store(value, builder.bitcast(address, VEC.as_pointer()), align=4)


def add_all(builder: Any, rows: list[Any]) -> Any:
    """Sum of vectors, added in pairs."""
    while len(rows) > 1:
        paired = [builder.fadd(a, b) for a, b in zip(rows[::2], rows[1::2], strict=False)]
        rows = paired + rows[len(paired) * 2 :]
    return rows[0]


def lane_sums(builder: Any, rows: list[Any]) -> Any:
    """Sixteen rows to one vector whose lane i is the sum of row i: a transpose that adds while it halves."""
    width = LANES
    while width > 1:
        half = width // 2
        starts = range(0, 2 * LANES, width)
        low = integers([start + lane for start in starts for lane in range(half)])
        high = integers([start + lane for start in starts for lane in range(half, width)])
        pairs = zip(rows[::2], rows[1::2], strict=True)
        rows = [builder.fadd(builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)) for a, b in pairs]
        width = half
    return rows[0]
