"""Arguments of a small scan."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch


@pytest.fixture
def scan_arguments() -> Callable[..., list[torch.Tensor]]:
    def build(length: int, *, batch: int = 1, width: int = 16, directions: int = 6, states: int = 4, rank: int = 4):
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator)

        return [
            normal(batch, length, width),
            normal(batch, length, directions, rank + 2 * states),
            normal(directions, rank, width) / rank**0.5,
            normal(directions, width) - 2,
            torch.arange(1.0, states + 1).log().view(1, states, 1) + 0.1 * normal(directions, states, width),
            normal(directions, width),
        ]

    return build
