"""How the Triton kernels cut a scan, how the fastest plan is found and kept, and what a failing self-test leads to."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from posecli.errors import DeviceError
from posecli.ssm import resolve_backend, scan, triton_check, triton_tuning
from posecli.ssm.triton_plan import (
    STEP_MULTIPLE,
    Plan,
    Sizes,
    backward_candidates,
    forward_candidates,
    guess_plan,
    reads_words,
)

PAPER = Sizes(1, 15360, 256, 6, 16, 16, 3, 15360, "float32", "float32")
SIZES = [
    PAPER,
    PAPER._replace(batch=64),
    PAPER._replace(directions=2, num_outputs=1, seg_len=240),
    Sizes(1, 9600, 64, 6, 4, 4, 3, 9600, "bfloat16", "bfloat16"),
    Sizes(3, 21, 48, 2, 3, 5, 1, 21, "float32", "float32"),
    Sizes(1, 1, 1, 1, 1, 1, 1, 1, "float32", "float32"),
]


@pytest.mark.parametrize("sizes", SIZES)
def test_every_plan_fits_the_kernels(sizes: Sizes) -> None:
    guess = guess_plan(sizes)
    for plan in (guess, *forward_candidates(sizes), *backward_candidates(sizes, guess)):
        assert plan.chunk % STEP_MULTIPLE == 0
        assert plan.chunk < sizes.seg_len + STEP_MULTIPLE
        for block in (plan.block, plan.back_block):
            assert sizes.width % block == 0
            assert block & (block - 1) == 0
        assert STEP_MULTIPLE % plan.unroll == STEP_MULTIPLE % plan.tile == 0
        assert sizes.states % plan.group == 0
    assert {plan.chunk for plan in backward_candidates(sizes, guess)} == {guess.chunk}
    assert len(set(forward_candidates(sizes))) == len(forward_candidates(sizes))


def test_work_fills_the_device_and_a_batch_needs_fewer_chunks() -> None:
    one, many = guess_plan(PAPER), guess_plan(PAPER._replace(batch=64))
    programs = PAPER.directions * (PAPER.width // one.block) * one.chunks_per_segment(PAPER.seg_len)
    assert 1000 <= programs <= 3000
    assert PAPER.seg_len % one.chunk == 0
    assert many.chunks_per_segment(PAPER.seg_len) == 1


def test_words_need_counts_that_fill_them() -> None:
    numbers = torch.zeros(1, 4, 2, 12)
    sizes = Sizes(1, 4, 16, 2, 4, 4, 1, 4, "float32", "float32")
    assert reads_words(numbers, sizes)
    assert reads_words(numbers.bfloat16(), sizes)
    assert not reads_words(numbers.half(), sizes)
    assert not reads_words(numbers, sizes._replace(rank=3, states=1))
    assert not reads_words(numbers.bfloat16(), sizes._replace(rank=2))
    assert not reads_words(torch.zeros(97)[1:].view(1, 4, 2, 12), sizes)


class Fake:
    """A tuning run without a device: milliseconds and spills by chunk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, milliseconds: dict[int, float], spills: set[int]) -> None:
        self.runs: list[Plan] = []
        self.milliseconds, self.spills = milliseconds, spills
        self.x: Any = SimpleNamespace(is_cuda=True, device=torch.device("cuda", 0))
        self.is_capturing = False
        monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: self.is_capturing)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA H200 (fake)")
        monkeypatch.setattr(triton_tuning, "_milliseconds", lambda _: self.milliseconds[self.runs[-1].chunk])
        monkeypatch.setattr(triton_tuning, "_chosen", {})

    def run(self, plan: Plan, compiled: list[Any]) -> None:
        self.runs.append(plan)
        compiled.append(SimpleNamespace(n_spills=4 if plan.chunk in self.spills else 0))

    def choose(self) -> Plan:
        plans = [Plan(chunk, 64, 2, True, 8, 1, 64) for chunk in self.milliseconds]
        return triton_tuning._choose("forward", "a size", self.x, plans[0], lambda: plans, self.run)


def test_the_fastest_plan_that_does_not_spill_is_measured_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, {8: 3.0, 16: 1.0, 24: 2.0}, spills={16})
    assert fake.choose().chunk == 24
    assert [plan.chunk for plan in fake.runs] == [8, 16, 24]
    fake.choose()
    assert len(fake.runs) == 3  # from memory
    monkeypatch.setattr(triton_tuning, "_chosen", {})
    assert fake.choose().chunk == 24
    assert len(fake.runs) == 3  # from the file
    file = triton_tuning.tuning_file(fake.x.device)
    assert "nvidia-h200-fake" in file.name
    assert json.loads(file.read_text())["forward a size"]["chunk"] == 24


def test_batches_of_about_the_same_size_share_a_plan() -> None:
    like = [triton_tuning._like(PAPER._replace(batch=batch)).batch for batch in (1, 2, 3, 4, 5, 31, 32)]
    assert like == [1, 2, 4, 4, 8, 32, 32]


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_damaged_file_is_measured_again(monkeypatch: pytest.MonkeyPatch, content: str, tmp_path: Path) -> None:
    monkeypatch.setenv("POSECLI_HOME", str(tmp_path))
    fake = Fake(monkeypatch, {8: 3.0, 16: 1.0}, spills=set())
    file = triton_tuning.tuning_file(fake.x.device)
    file.parent.mkdir()
    file.write_text(content)
    assert fake.choose().chunk == 16
    assert len(json.loads(file.read_text())) == 1


def test_nothing_is_measured_on_a_cpu_or_while_a_graph_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(monkeypatch, {8: 3.0, 16: 1.0}, spills=set())
    fake.is_capturing = True
    assert fake.choose().chunk == 8
    fake.is_capturing, fake.x.is_cuda = False, False
    assert fake.choose().chunk == 8
    assert fake.runs == []


def fail(_: Any) -> float:
    raise RuntimeError("ptxas fell over\nerror: unsupported device")


@pytest.mark.parametrize(
    ("error", "text"),
    [(lambda _: 0.5, "off by 5.0e-01"), (lambda _: float("inf"), "off by inf"), (fail, "unsupported device")],
)
def test_wrong_kernels_are_not_used(monkeypatch: pytest.MonkeyPatch, error: Any, text: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(scan, "_warned", set())
    monkeypatch.setattr(triton_check, "_verdicts", {})
    monkeypatch.setattr(triton_check, "triton_error", error)
    with pytest.raises(DeviceError, match=text) as caught:
        resolve_backend("triton", "cuda")
    assert caught.value.hint == "--scan-backend chunked"
    with pytest.warns(RuntimeWarning, match=f"(?s){text}.*chunked backend is, which is far slower"):
        assert resolve_backend("auto", "cuda") == "chunked"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # told once
        assert resolve_backend("auto", "cuda") == "chunked"


def test_right_kernels_are_tried_once_and_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Any] = []

    def error(device: Any) -> float:
        tried.append(device)
        return 1e-7

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(triton_check, "_verdicts", {})
    monkeypatch.setattr(triton_check, "triton_error", error)
    assert resolve_backend("auto", "cuda") == resolve_backend("triton", "cuda") == "triton"
    assert len(tried) == 1
