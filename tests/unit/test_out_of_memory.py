"""Batches that shrink: real allocations that really fail."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from posecli.crew import Crew
from posecli.errors import DeviceError
from posecli.out_of_memory import BatchSize, is_out_of_memory

_TOO_MUCH = 1 << 58  # floats: more than there are addresses


class Hungry(torch.nn.Module):
    """Wants more memory than there is, from some number of items on."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice the input."""
        self.sizes.append(len(x))
        torch.empty(len(x) // (self.most + 1), _TOO_MUCH)
        return 2 * x


def test_the_errors_of_torch_numpy_and_opencv_are_recognised() -> None:
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(_TOO_MUCH)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(_TOO_MUCH, np.float32)
    with pytest.raises(cv2.error) as of_opencv:
        cv2.resize(np.zeros((8, 8, 3), np.uint8), (1 << 24, 1 << 20))
    with pytest.raises(cv2.error) as other:
        cv2.resize(np.zeros((8, 8, 3), np.uint8), (0, 0))
    assert is_out_of_memory(of_opencv.value)
    assert not is_out_of_memory(other.value)
    assert is_out_of_memory(of_torch.value)
    assert is_out_of_memory(of_numpy.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_size_is_halved_until_it_fits_and_remembered() -> None:
    network, batches = Hungry(most=3), BatchSize(16, what="pictures")
    items = torch.arange(20.0)
    found = batches.run(20, lambda part: network(items[part]))
    assert torch.cat(found).tolist() == (2 * items).tolist()
    assert network.sizes[:3] == [16, 8, 4]
    assert batches.size == 2
    network.sizes.clear()
    batches.run(5, lambda part: network(items[part]))
    assert network.sizes == [2, 2, 1]
    assert batches.notes == ["memory ran out with larger batches: 2 pictures at a time instead of 16"]


def test_few_items_are_halved_themselves() -> None:
    network, batches = Hungry(most=3), BatchSize(64, what="pictures")
    batches.run(6, lambda part: network(torch.zeros(6)[part]))
    assert network.sizes == [6, 3, 3]
    assert batches.size == 3


def test_one_item_too_large_is_one_clear_error() -> None:
    network, batches = Hungry(most=0), BatchSize(4, what="pictures")
    with pytest.raises(DeviceError, match="memory ran out with one of the pictures") as caught:
        batches.run(4, lambda part: network(torch.zeros(4)[part]))
    assert caught.value.exit_code == 6
    assert caught.value.hint is not None
    assert network.sizes == [4, 2, 1]


def test_side_by_side_gives_way_to_one_after_another() -> None:
    import threading

    at_work, most = 0, 0
    lock = threading.Lock()

    def work(part: slice) -> int:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            is_crowded = at_work > 1
        try:
            if is_crowded:
                torch.empty(_TOO_MUCH)
            threading.Event().wait(0.02)
            return part.start
        finally:
            with lock:
                at_work -= 1

    batches = BatchSize(1, what="pictures")
    with Crew(2) as crew:
        assert batches.run(4, work, spread=crew.map) == [0, 1, 2, 3]
        assert most == 2
        assert batches.is_alone
        assert batches.notes == ["memory ran out: pictures went one after another, not side by side"]
        assert batches.run(4, work, spread=crew.map) == [0, 1, 2, 3]


def test_other_errors_pass() -> None:
    error = RuntimeError("shapes do not fit")

    def fail(part: slice) -> None:
        raise error

    batches = BatchSize(4, what="pictures")
    with pytest.raises(RuntimeError) as caught:
        batches.run(4, fail)
    assert caught.value is error
    assert batches.notes == []


def test_nothing_is_no_batch() -> None:
    assert BatchSize(4, what="pictures").run(0, lambda part: part) == []
