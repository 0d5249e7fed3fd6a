"""The kernels' thread pool: all tasks once, errors reach the caller, and a forked child gets its own threads."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator

import pytest
import torch

from posecli.ssm.threads import run_tasks


@pytest.fixture
def two_threads() -> Iterator[None]:
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def covered(num_tasks: int) -> list[int]:
    done: list[int] = []
    run_tasks(lambda offset, first, last: done.extend(range(offset + first, offset + last)), num_tasks, 100)
    return sorted(done)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("num_tasks", [1, 2, 3, 7])
def test_every_task_runs_once(num_tasks: int) -> None:
    assert covered(num_tasks) == list(range(100, 100 + num_tasks))


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_any_thread_reaches_the_caller() -> None:
    def fail(bad: int, first: int, last: int) -> None:
        if first <= bad < last:
            raise ZeroDivisionError(f"task {bad}")

    for bad in (0, 1):
        with pytest.raises(ZeroDivisionError, match=f"task {bad}"):
            run_tasks(fail, 2, bad)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_starts_its_own_threads() -> None:
    """The child inherits the pool object but none of its threads: waiting for them would last forever."""
    covered(4)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 warns of forking with threads: that is the point
        child = os.fork()
    if child == 0:
        signal.alarm(30)
        os._exit(0 if covered(4) == [100, 101, 102, 103] else 1)
    assert os.waitpid(child, 0)[1] == 0
