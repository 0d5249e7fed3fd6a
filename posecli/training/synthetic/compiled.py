"""Loops over vertices, triangles and pixels, compiled by numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
from numba import njit

Scalar = float | np.float32
_Function = TypeVar("_Function", bound=Callable[..., object])


def compiled(function: _Function) -> _Function:
    """Compile a function of arrays and numbers on its first call; the machine code is kept beside the source file."""
    return cast(_Function, njit(fastmath=True, cache=True, nogil=True)(function))


def inlined(function: _Function) -> _Function:
    """As `compiled`, for a part of a loop's body.

    Such a part takes and gives numbers and whole arrays; rows of arrays (``a[i]``) would count references at every pixel.
    """
    return cast(_Function, njit(fastmath=True, cache=True, nogil=True, forceinline=True)(function))
