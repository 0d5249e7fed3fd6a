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
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import NativeValue, intrinsic, models, register_model, unbox

from posecli.ssm import llvm

LANES = llvm.LANES

Function = TypeVar("Function", bound=Callable[..., Any])
Emit = Callable[..., Any]

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
        super().__init__(manager, numba_type, llvm.VEC)  # type: ignore[no-untyped-call]


@register_model(RowsType)
class _RowsModel(models.OpaqueModel):
    pass


@unbox(RowsType)
def _unbox_rows(numba_type: Any, value: Any, c: Any) -> Any:
    return NativeValue(c.context.get_dummy_value())


def kernel(function: Function) -> Function:
    """Compile a kernel that Python calls: no GIL, machine code cached on disk. It must take a ``Rows``, see ``RowsType``."""
    options: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
    try:
        return cast("Function", numba.njit(function, cache=True, **options))
    except RuntimeError:  # no folder to write the cache to: compile in every process, some seconds each
        return cast("Function", numba.njit(function, **options))


def routine(function: Function) -> Function:
    """Compile a part of a kernel. Not cached by itself, or a new kernel could be put together from old parts."""
    return cast("Function", numba.njit(function, nogil=True, boundscheck=False, error_model="numpy"))


def _operation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make the function callable from kernels, there without its first argument."""
    return cast("Callable[..., Any]", intrinsic(function))


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
    return _each(llvm.fma, a, b, c)


@_operation
def exp2(typing: Any, exponent: Any) -> Any:
    """Power 2**exponent, for exponents <= 0 only."""
    return _each(llvm.exp2, exponent)


@_operation
def softplus(typing: Any, value: Any) -> Any:
    """Softplus, log(1 + exp(value)), relatively accurate for every value."""
    return _each(llvm.softplus, value)


@_operation
def sigmoid(typing: Any, value: Any) -> Any:
    """Sigmoid, 1 / (1 + exp(-value)), the slope of softplus."""
    return _each(llvm.sigmoid, value)


@_operation
def inverse_sqrt(typing: Any, value: Any) -> Any:
    """1 / sqrt(value), both rounded as IEEE says."""
    return _each(llvm.inverse_sqrt, value)


@_operation
def splat(typing: Any, scalar: Any) -> Any:
    """A float32 in all lanes."""
    return lanes(types.float32), lambda context, builder, signature, arguments: llvm.splat(builder, arguments[0])


@_operation
def zero(typing: Any) -> Any:
    """Lanes of zeros."""
    return lanes(), lambda context, builder, signature, arguments: llvm.constant(0.0)


@_operation
def zero_rows(typing: Any, rows: Any) -> Any:
    """A block of zeros."""
    result = _block(rows.rows)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _join(context, builder, result, [llvm.constant(0.0)] * rows.rows)

    return result(rows), generate


@_operation
def load(typing: Any, address: Any, offset: Any) -> Any:
    """Sixteen floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return llvm.load(builder, llvm.address(builder, *arguments))

    return lanes(types.intp, types.intp), generate


@_operation
def store(typing: Any, address: Any, offset: Any, value: Any) -> Any:
    """Write sixteen floats."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        llvm.store(builder, llvm.address(builder, *arguments[:2]), arguments[2])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, lanes), generate


@_operation
def load_rows(typing: Any, rows: Any, address: Any, offset: Any, stride: Any) -> Any:
    """A block whose row i starts at ``offset + i * stride``."""
    result = _block(rows.rows)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, data, start, step = arguments
        offsets = [builder.add(start, builder.mul(step, step.type(i))) for i in range(rows.rows)]
        addresses = [llvm.address(builder, data, offset) for offset in offsets]
        return _join(context, builder, result, [llvm.load(builder, address) for address in addresses])

    return result(rows, types.intp, types.intp, types.intp), generate


@_operation
def store_rows(typing: Any, address: Any, offset: Any, stride: Any, block: Any) -> Any:
    """Write row i of a block at ``offset + i * stride``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, start, step, value = arguments
        for i, row in enumerate(_split(builder, block, value, block.count)):
            place = builder.add(start, builder.mul(step, step.type(i)))
            llvm.store(builder, llvm.address(builder, data, place), row)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, block), generate


@_operation
def splat_rows(typing: Any, rows: Any, address: Any, offset: Any) -> Any:
    """A block whose row i holds the float at ``offset + i`` in all lanes."""
    result = _block(rows.rows)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, data, start = arguments
        places = [llvm.address(builder, data, builder.add(start, start.type(i))) for i in range(rows.rows)]
        return _join(
            context, builder, result, [llvm.splat(builder, builder.load(place, typ=llvm.F32)) for place in places]
        )

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
                chains[i % 2] = llvm.fma(builder, x, y, chains[i % 2])
        return llvm.add_all(builder, chains)

    return lanes(lanes, a, b), generate


@_operation
def lane_sums(typing: Any, address: Any, offset: Any) -> Any:
    """Sums of the sixteen consecutive rows of sixteen floats that start at ``offset``: lane i holds the sum of row i."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, start = arguments
        offsets = [builder.add(start, start.type(i * LANES)) for i in range(LANES)]
        addresses = [llvm.address(builder, data, offset) for offset in offsets]
        return llvm.lane_sums(builder, [llvm.load(builder, address) for address in addresses])

    return lanes(types.intp, types.intp), generate


@_operation
def store_first(typing: Any, address: Any, offset: Any, value: Any, count: Any) -> Any:
    """Write the first ``count`` (0 to 16) lanes and leave the memory behind them untouched."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, start, vector, number = arguments
        number = builder.trunc(number, llvm.I32)
        undefined = ir.Constant(llvm.IVEC, ir.Undefined)
        numbers = builder.shuffle_vector(
            builder.insert_element(undefined, number, llvm.I32(0)), undefined, llvm.integers([0] * LANES)
        )
        mask = builder.icmp_signed("<", llvm.integers(range(LANES)), numbers)
        place = builder.bitcast(llvm.address(builder, data, start), llvm.VEC.as_pointer())
        llvm.call(builder, "llvm.masked.store.v16f32.p0", ir.VoidType(), vector, place, llvm.I32(4), mask)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, lanes, types.intp), generate


@_operation
def load_int(typing: Any, address: Any, offset: Any) -> Any:
    """One int32, as the integer type of indices."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.sext(
            builder.load(llvm.address(builder, arguments[0], arguments[1], llvm.I32), typ=llvm.I32), ir.IntType(64)
        )

    return types.intp(types.intp, types.intp), generate


@_operation
def store_int(typing: Any, address: Any, offset: Any, value: Any) -> Any:
    """Write an index as one int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = llvm.address(builder, arguments[0], arguments[1], llvm.I32)
        builder.store(builder.trunc(arguments[2], llvm.I32), place)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@_operation
def load_float(typing: Any, address: Any, offset: Any) -> Any:
    """One float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(llvm.address(builder, *arguments), typ=llvm.F32)

    return types.float32(types.intp, types.intp), generate


@_operation
def store_float(typing: Any, address: Any, offset: Any, value: Any) -> Any:
    """Write one float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], llvm.address(builder, *arguments[:2]))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.float32), generate


@_operation
def prefetch(typing: Any, address: Any, offset: Any) -> Any:
    """Ask for a cache line that will be needed soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.bitcast(llvm.address(builder, *arguments), llvm.BYTES)
        llvm.call(builder, "llvm.prefetch.p0", ir.VoidType(), place, llvm.I32(0), llvm.I32(2), llvm.I32(1))
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), generate
