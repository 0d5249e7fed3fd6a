"""Explicit 16-lane float32 vectors for numba kernels.

LLVM turns ``<16 x float>`` into whatever the host has: one register with AVX-512, two with AVX2, four with NEON or SSE. Kernels are
written with the functions below and so do not depend on the auto-vectoriser, which is several times slower on the selective scan.

Two kinds of values exist inside a kernel: *lanes*, one vector, and a *block*, a tuple of vectors (rows) that LLVM keeps in
registers. A kernel receives the number of rows as an argument of type ``Rows``: each number is compiled separately and so every
loop over rows is unrolled. Element-wise functions accept both kinds and repeat lanes over the rows of a block.

Memory is given as the address of float32 (or int32) data, an integer, and an offset in elements. Addresses rather than arrays: numba
counts references to an array in every function it passes through, which costs more than the work on one tile of it. The caller keeps
the tensors alive. No fast-math flag is used: NaN and infinity travel as IEEE says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, intrinsic, models, register_model, unbox

LANES = 16

Function = TypeVar("Function", bound=Callable[..., Any])
Emit = Callable[..., Any]

_F32 = ir.FloatType()
_I1 = ir.IntType(1)
_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_VEC = ir.VectorType(_F32, LANES)
_IVEC = ir.VectorType(_I32, LANES)
_MASK = ir.VectorType(_I1, LANES)
_BYTES = ir.IntType(8).as_pointer()

# 2**f on [-0.5, 0.5], highest power first, relative error 1.5e-7.
_EXP2 = (1.326472725e-03, 9.671512786e-03, 5.550733744e-02, 2.402224208e-01, 6.931469776e-01, 1.0)
# log(1 + u) / u on [0, 1]. Dividing by u keeps relative accuracy where a plain log(1 + u) would lose all of it (tiny steps).
_LOG1P = (
    5.232694626e-03, -2.950524331e-02, 7.822596517e-02, -1.366324754e-01, 1.910600796e-01,
    -2.484298266e-01, 3.331909689e-01, -4.999949315e-01, 9.999999699e-01,
)  # fmt: skip
_LOG2_E = 1.4426950408889634

_SOURCES = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
_REVISION = hashlib.sha256(_SOURCES).hexdigest()[:12]


class LanesType(types.Type):
    """Numba type of one vector."""

    def __init__(self) -> None:
        super().__init__(name="float32x16")


class RowsType(types.Type):
    """Numba type of ``Rows``.

    The name carries a digest of this folder's sources: numba's disk cache looks at the file of a kernel only, and would otherwise go
    on using machine code made from older routines and constants of the other files.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        super().__init__(name=f"rows{rows}@{_REVISION}")


class Rows:
    """The number of rows of a block, known when a kernel is compiled.

    Args:
        rows: 1 or more.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._numba_type_ = RowsType(rows)


lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, _VEC)  # type: ignore[no-untyped-call]


@register_model(RowsType)
class _RowsModel(models.OpaqueModel):
    pass


@unbox(RowsType)
def _unbox_rows(numba_type: Any, value: Any, c: Any) -> Any:
    return NativeValue(c.context.get_dummy_value())


def kernel(function: Function) -> Function:
    """Compile a kernel that Python calls: no GIL, machine code cached on disk. It must take a ``Rows``, see ``RowsType``."""
    return cast("Function", numba.njit(function, nogil=True, cache=True, boundscheck=False, error_model="numpy"))


def routine(function: Function) -> Function:
    """Compile a part of a kernel. Not cached by itself, or a new kernel could be put together from old parts."""
    return cast("Function", numba.njit(function, nogil=True, boundscheck=False, error_model="numpy"))


def _operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make the function callable from kernels, there without its first argument."""
    return cast("Callable[..., Any]", intrinsic(function))


# Building blocks, in LLVM


def _constant(value: float) -> Any:
    return ir.Constant(_VEC, [ir.Constant(_F32, float(np.float32(value)))] * LANES)


def _integers(values: Sequence[int]) -> Any:
    return ir.Constant(ir.VectorType(_I32, len(values)), [ir.Constant(_I32, value) for value in values])


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    function_type = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, "llvm.fma.v16f32", _VEC, a, b, c)


def _polynomial(builder: Any, coefficients: Sequence[float], argument: Any) -> Any:
    """Estrin's scheme: neighbours are joined in pairs, so the additions wait for one another in log2 steps, not in a row."""
    terms = [_constant(coefficient) for coefficient in reversed(coefficients)]
    power = argument
    while len(terms) > 1:
        pairs = [_fma(builder, high, power, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[len(pairs) * 2 :]
        power = builder.fmul(power, power) if len(terms) > 1 else power
    return terms[0]


def _has_avx512() -> bool:
    settings: Any = numba.config
    if settings.CPU_NAME or settings.CPU_FEATURES:  # compiling for a chosen CPU, not for this one
        return "+avx512f" in str(settings.CPU_FEATURES or "")
    return bool(dict(binding.get_host_cpu_features()).get("avx512f"))


def _exp2(builder: Any, exponent: Any) -> Any:
    """2**exponent for exponents <= 0; values below the smallest normal number may come out as that number."""
    use_scalef = _has_avx512()
    if not use_scalef:
        low = builder.fcmp_ordered("<", exponent, _constant(-126.0))  # false for NaN, which must stay
        exponent = builder.select(low, _constant(-126.0), exponent)
    whole = _call(builder, "llvm.rint.v16f32", _VEC, exponent)
    fraction = _polynomial(builder, _EXP2, builder.fsub(exponent, whole))
    if use_scalef:
        arguments = (fraction, whole, _constant(0.0), ir.Constant(_I16, -1), ir.Constant(_I32, 4))
        return _call(builder, "llvm.x86.avx512.mask.scalef.ps.512", _VEC, *arguments)
    biased = builder.add(builder.fptosi(whole, _IVEC), _integers([127] * LANES))
    scale = builder.bitcast(builder.shl(biased, _integers([23] * LANES)), _VEC)
    return builder.fmul(fraction, scale)


def _exp_of_minus_abs(builder: Any, value: Any) -> Any:
    magnitude = _call(builder, "llvm.fabs.v16f32", _VEC, value)
    return _exp2(builder, builder.fmul(magnitude, _constant(-_LOG2_E)))


def _softplus(builder: Any, value: Any) -> Any:
    u = _exp_of_minus_abs(builder, value)
    positive = builder.fcmp_ordered(">", value, _constant(0.0))
    return _fma(builder, _polynomial(builder, _LOG1P, u), u, builder.select(positive, value, _constant(0.0)))


def _sigmoid(builder: Any, value: Any) -> Any:
    u = _exp_of_minus_abs(builder, value)
    quotient = builder.fdiv(_constant(1.0), builder.fadd(_constant(1.0), u))
    return builder.select(builder.fcmp_ordered("<", value, _constant(0.0)), builder.fmul(u, quotient), quotient)


def _splat(builder: Any, scalar: Any) -> Any:
    undefined = ir.Constant(_VEC, ir.Undefined)
    return builder.shuffle_vector(builder.insert_element(undefined, scalar, _I32(0)), undefined, _integers([0] * LANES))


def _address(builder: Any, start: Any, offset: Any, element: Any = _F32) -> Any:
    return builder.gep(builder.inttoptr(start, element.as_pointer()), [offset], source_etype=element)


def _load(builder: Any, address: Any) -> Any:
    loaded = builder.load(builder.bitcast(address, _VEC.as_pointer()), typ=_VEC)
    loaded.align = 4
    return loaded


def _store(builder: Any, address: Any, value: Any) -> None:
    builder.store(value, builder.bitcast(address, _VEC.as_pointer()), align=4)


def _add_all(builder: Any, rows: list[Any]) -> Any:
    while len(rows) > 1:
        paired = [builder.fadd(a, b) for a, b in zip(rows[::2], rows[1::2], strict=False)]
        rows = paired + rows[len(paired) * 2 :]
    return rows[0]


def _lane_sums(builder: Any, rows: list[Any]) -> Any:
    """Sixteen rows to one vector whose lane i is the sum of row i: a transpose that adds while it halves."""
    width = LANES
    while width > 1:
        half = width // 2
        starts = range(0, 2 * LANES, width)
        low = _integers([start + lane for start in starts for lane in range(half)])
        high = _integers([start + lane for start in starts for lane in range(half, width)])
        pairs = zip(rows[::2], rows[1::2], strict=True)
        rows = [builder.fadd(builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)) for a, b in pairs]
        width = half
    return rows[0]


# Blocks


def _block(rows: int) -> Any:
    return types.UniTuple(lanes, rows)


def _widest(*operands: Any) -> Any:
    return next((operand for operand in operands if isinstance(operand, types.UniTuple)), lanes)


def _split(builder: Any, numba_type: Any, value: Any, count: int) -> list[Any]:
    if isinstance(numba_type, types.UniTuple):
        return list(cgutils.unpack_tuple(builder, value, count))
    return [value] * count


def _join(context: Any, builder: Any, numba_type: Any, rows: list[Any]) -> Any:
    return context.make_tuple(builder, numba_type, rows) if isinstance(numba_type, types.UniTuple) else rows[0]


def _each(emit: Emit, *operands: Any) -> tuple[Any, Emit]:
    """Signature and code of an operation applied row by row."""
    result = _widest(*operands)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        count = getattr(result, "count", 1)
        split = [_split(builder, kind, value, count) for kind, value in zip(signature.args, arguments, strict=True)]
        return _join(context, builder, result, [emit(builder, *row) for row in zip(*split, strict=True)])

    return result(*operands), generate


# What kernels call


@_operation
def add(typing: Any, a: Any, b: Any) -> Any:
    """Sum, a + b."""
    return _each(lambda builder, x, y: builder.fadd(x, y), a, b)


@_operation
def mul(typing: Any, a: Any, b: Any) -> Any:
    """Product, a * b."""
    return _each(lambda builder, x, y: builder.fmul(x, y), a, b)


@_operation
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Product and sum, a * b + c, rounded once."""
    return _each(_fma, a, b, c)


@_operation
def exp2(typing: Any, exponent: Any) -> Any:
    """Power 2**exponent, for exponents <= 0 only."""
    return _each(_exp2, exponent)


@_operation
def softplus(typing: Any, value: Any) -> Any:
    """Softplus, log(1 + exp(value)), relatively accurate for every value."""
    return _each(_softplus, value)


@_operation
def sigmoid(typing: Any, value: Any) -> Any:
    """Sigmoid, 1 / (1 + exp(-value)), the slope of softplus."""
    return _each(_sigmoid, value)


@_operation
def splat(typing: Any, scalar: Any) -> Any:
    """A float32 in all lanes."""
    return lanes(types.float32), lambda context, builder, signature, arguments: _splat(builder, arguments[0])


@_operation
def zero(typing: Any) -> Any:
    """Lanes of zeros."""
    return lanes(), lambda context, builder, signature, arguments: _constant(0.0)


@_operation
def zero_rows(typing: Any, rows: Any) -> Any:
    """A block of zeros."""
    result = _block(rows.rows)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _join(context, builder, result, [_constant(0.0)] * rows.rows)

    return result(rows), generate


@_operation
def load(typing: Any, address: Any, offset: Any) -> Any:
    """Sixteen floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _load(builder, _address(builder, *arguments))

    return lanes(types.intp, types.intp), generate


@_operation
def store(typing: Any, address: Any, offset: Any, value: Any) -> Any:
    """Write sixteen floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _store(builder, _address(builder, *arguments[:2]), arguments[2])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, lanes), generate


@_operation
def load_rows(typing: Any, rows: Any, address: Any, offset: Any, stride: Any) -> Any:
    """A block whose row i starts at ``offset + i * stride``."""
    result = _block(rows.rows)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, data, start, step = arguments
        offsets = [builder.add(start, builder.mul(step, step.type(i))) for i in range(rows.rows)]
        addresses = [_address(builder, data, offset) for offset in offsets]
        return _join(context, builder, result, [_load(builder, address) for address in addresses])

    return result(rows, types.intp, types.intp, types.intp), generate


@_operation
def store_rows(typing: Any, address: Any, offset: Any, stride: Any, block: Any) -> Any:
    """Write row i of a block at ``offset + i * stride``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, start, step, value = arguments
        for i, row in enumerate(_split(builder, block, value, block.count)):
            place = builder.add(start, builder.mul(step, step.type(i)))
            _store(builder, _address(builder, data, place), row)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, block), generate


@_operation
def splat_rows(typing: Any, rows: Any, address: Any, offset: Any) -> Any:
    """A block whose row i holds the float at ``offset + i`` in all lanes."""
    result = _block(rows.rows)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, data, start = arguments
        places = [_address(builder, data, builder.add(start, start.type(i))) for i in range(rows.rows)]
        return _join(context, builder, result, [_splat(builder, builder.load(place, typ=_F32)) for place in places])

    return result(rows, types.intp, types.intp), generate


@_operation
def dot_rows(typing: Any, start: Any, a: Any, b: Any) -> Any:
    """Add to ``start`` the sum over rows of a * b; two chains of additions to halve the wait for each other."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        chains = [arguments[0]]
        pairs = zip(_split(builder, a, arguments[1], a.count), _split(builder, b, arguments[2], a.count), strict=True)
        for i, (x, y) in enumerate(pairs):
            if i == 1:
                chains.append(builder.fmul(x, y))
            else:
                chains[i % 2] = _fma(builder, x, y, chains[i % 2])
        return _add_all(builder, chains)

    return lanes(lanes, a, b), generate


@_operation
def lane_sums(typing: Any, address: Any, offset: Any) -> Any:
    """Sums of the sixteen consecutive rows of sixteen floats that start at ``offset``: lane i holds the sum of row i."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, start = arguments
        offsets = [builder.add(start, start.type(i * LANES)) for i in range(LANES)]
        addresses = [_address(builder, data, offset) for offset in offsets]
        return _lane_sums(builder, [_load(builder, address) for address in addresses])

    return lanes(types.intp, types.intp), generate


@_operation
def store_first(typing: Any, address: Any, offset: Any, value: Any, count: Any) -> Any:
    """Write the first ``count`` (0 to 16) lanes and leave the memory behind them untouched."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, start, vector, number = arguments
        number = builder.trunc(number, _I32)
        undefined = ir.Constant(_IVEC, ir.Undefined)
        numbers = builder.shuffle_vector(
            builder.insert_element(undefined, number, _I32(0)), undefined, _integers([0] * LANES)
        )
        mask = builder.icmp_signed("<", _integers(range(LANES)), numbers)
        place = builder.bitcast(_address(builder, data, start), _VEC.as_pointer())
        _call(builder, "llvm.masked.store.v16f32.p0", ir.VoidType(), vector, place, _I32(4), mask)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, lanes, types.intp), generate


@_operation
def load_int(typing: Any, address: Any, offset: Any) -> Any:
    """One int32, as the integer type of indices."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sext(builder.load(_address(builder, arguments[0], arguments[1], _I32), typ=_I32), ir.IntType(64))

    return types.intp(types.intp, types.intp), generate


@_operation
def prefetch(typing: Any, address: Any, offset: Any) -> Any:
    """Ask for a cache line that will be needed soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.bitcast(_address(builder, *arguments), _BYTES)
        _call(builder, "llvm.prefetch.p0", ir.VoidType(), place, _I32(0), _I32(2), _I32(1))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate
