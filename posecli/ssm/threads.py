"""One thread pool for all CPU kernels of posecli.

Kernels release the GIL, so plain Python threads are enough. Numba's own ``prange`` is avoided on purpose: importing OpenCV changes
OpenMP settings under it, it resets torch's thread count, and its fallback layer is not safe to call from two threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import torch


class _Pool:
    """A pool rebuilt when the wanted number of threads changes, and in a forked child (whose copy has no live threads)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._built_for = (0, 0)

    def executor(self, num_threads: int) -> ThreadPoolExecutor:
        wanted = (os.getpid(), num_threads)
        with self._lock:
            if self._executor is None or self._built_for != wanted:
                self._executor = ThreadPoolExecutor(num_threads, thread_name_prefix="posecli-kernel")
                self._built_for = wanted
            return self._executor

    def forget(self) -> None:
        """Drop what a fork copied: a lock may have been held and the threads are gone."""
        self._lock = threading.Lock()
        self._executor = None


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


def run_tasks(kernel: Callable[..., None], num_tasks: int, *arguments: object) -> None:
    """Call ``kernel(*arguments, first, last)`` so that together the calls cover tasks 0 to ``num_tasks``.

    The tasks are split evenly over ``torch.get_num_threads()`` threads, the caller's being one of them. Tasks must write to
    separate memory. Returns when all are done; the first error of any is raised then.
    """
    num_parts = min(num_tasks, torch.get_num_threads())
    if num_parts <= 1:
        kernel(*arguments, 0, num_tasks)
        return
    bounds = [part * num_tasks // num_parts for part in range(num_parts + 1)]
    executor = _pool.executor(torch.get_num_threads())
    futures = [executor.submit(kernel, *arguments, bounds[i], bounds[i + 1]) for i in range(1, num_parts)]
    try:
        kernel(*arguments, bounds[0], bounds[1])
    finally:
        wait(futures)  # the arrays must outlive every thread that writes to them
    for future in futures:
        future.result()
