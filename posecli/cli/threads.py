"""CPU threads of commands that compute."""

from __future__ import annotations

import os

# torch's OpenMP pool spins while it waits, and starves the other threads of a busy machine; read when torch is imported
_PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def make_threads_patient() -> None:
    """To be called before torch is imported; what the user has set stays."""
    for name, value in _PATIENT_THREADS.items():
        os.environ.setdefault(name, value)


def set_threads(threads: int | None) -> None:
    """Limit torch and our kernels; ``None`` leaves torch's own choice."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
