"""``posecli doctor``: what this machine can do, and the command that mends what it cannot."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import typer

from posecli.cli import console, options
from posecli.errors import ConfigError, PoseCliError

Status = Literal["ok", "absent", "warning", "failed"]

_DEPENDENCIES = (
    "torch",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "av",
    "typer",
    "rich",
    "orjson",
    "safetensors",
    "platformdirs",
    "numba",
)
_EXTRAS = {
    "yolo": "ultralytics",
    "mamba": "mamba-ssm",
    "ray": "ray",
    "eval": "faster-coco-eval",
    "hub": "huggingface_hub",
}
_SCAN_TOLERANCE = 1e-3  # relative to the fp64 oracle; fp32 kernels stay three orders of magnitude below


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``absent`` is optional and not there; ``failed`` makes the command fail."""

    topic: str
    status: Status
    value: str
    remedy: str | None = None


def doctor(
    json: options.Json = False,
    ray: Annotated[
        bool, typer.Option("--ray", help="Also connect to Ray, list its machines, and run a small task there.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option("--address", help="With --ray: of a cluster; else RAY_ADDRESS. Default: a Ray of this machine."),
    ] = None,
) -> None:
    """Report versions, backends, devices and weights; fails when something that posecli needs does not work."""
    if address is not None and not ray:
        raise ConfigError("--address is for Ray", hint="add --ray")
    findings = list(examine())
    if ray:
        findings += examine_ray(address or os.environ.get("RAY_ADDRESS"))
    if json:
        console.print_json(findings)
    else:
        width = max(len(finding.topic) for finding in findings)
        for finding in findings:
            remedy = "" if finding.remedy is None else f"  ({finding.remedy})"
            console.print_data(f"{finding.status:<8} {finding.topic:<{width}}  {finding.value}{remedy}")
    if any(finding.status == "failed" for finding in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Look at everything in turn; a look that crashes is itself a finding, so that the rest is still reported."""
    looks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("machine", _machine),
        ("packages", _packages),
        ("extras", _extras),
        ("video", _video),
        ("torch", _torch),
        ("scan", _scan),
        ("weights", _weights),
    )
    for topic, look in looks:
        try:
            yield from look()
        except Exception as error:
            yield Finding(
                topic, "failed", f"{type(error).__name__}: {error}", "report this if a reinstall does not help"
            )


def examine_ray(address: str | None) -> list[Finding]:
    """What ``batch --engine ray`` would find."""
    from posecli.batch.ray_cluster import connected, list_nodes, try_task

    findings: list[Finding] = []
    try:
        with connected(address) as module:
            findings.append(Finding("ray", "ok", f"connected to {address or 'a Ray of this machine'}"))
            for node in list_nodes(module):
                status: Status = "ok" if node.is_alive else "warning"
                value = f"{node.cpus:g} CPUs, {node.gpus:g} GPUs" if node.is_alive else "not there any more"
                findings.append(Finding(f"ray node {node.host}", status, value))
            trial = try_task(module)
    except PoseCliError as error:
        return [*findings, Finding("ray", "failed", error.message, error.hint)]
    value = f"done on {trial.host} in {trial.seconds:.1f} s: Python {trial.python}, ray {trial.ray}, posecli {trial.posecli}"
    if trial.posecli != _version("posecli"):
        return [*findings, Finding("ray task", "failed", value, "install the same posecli on all nodes")]
    return [*findings, Finding("ray task", "ok", value)]


def _machine() -> Iterator[Finding]:
    yield Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")
    yield Finding("platform", "ok", platform.platform())
    yield Finding("cpu", "ok", f"{_num_usable_cpus()} of {os.cpu_count()} cores usable, {platform.machine()}")


def _num_usable_cpus() -> int:
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _packages() -> Iterator[Finding]:
    for name in ("posecli", *_DEPENDENCIES):
        version = _version(name)
        if version is None:
            yield Finding(name, "failed", "not installed", "pip install posecli")
        else:
            yield Finding(name, "ok", version)
    if _version("opencv-python") is not None:
        remedy = "pip uninstall opencv-python, then pip install --force-reinstall opencv-python-headless"
        yield Finding("opencv-python", "warning", "overwrites the headless build, same folder", remedy)


def _extras() -> Iterator[Finding]:
    for extra, name in _EXTRAS.items():
        version = _version(name)
        if version is None:
            yield Finding(f"[{extra}]", "absent", f"{name} is not installed", f"pip install 'posecli[{extra}]'")
        else:
            yield Finding(f"[{extra}]", "ok", f"{name} {version}")


def _version(distribution: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _video() -> Iterator[Finding]:
    import av

    yield Finding("ffmpeg", "ok", ", ".join(f"{name} {'.'.join(map(str, v))}" for name, v in _ffmpeg_libraries()))
    if "libx264" in av.codecs_available:
        yield Finding("libx264", "ok", "overlays are written as H.264")
    else:
        yield Finding("libx264", "failed", "this build of PyAV cannot encode H.264", "pip install --force-reinstall av")


def _ffmpeg_libraries() -> list[tuple[str, tuple[int, ...]]]:
    import av

    return [(name, av.library_versions[name]) for name in ("libavformat", "libavcodec")]


def _torch() -> Iterator[Finding]:
    import torch

    pinned = os.environ.get("OMP_NUM_THREADS")
    yield Finding("threads", "ok", f"torch uses {torch.get_num_threads()}, OMP_NUM_THREADS is {pinned or 'not set'}")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        yield Finding(
            "cuda", "ok", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        )
    else:
        yield Finding("cuda", "absent", "no device, everything runs on the CPU")


def _scan() -> Iterator[Finding]:
    from posecli.ssm import available_backends, self_test

    for backend, state in available_backends().items():
        if state != "ok":
            yield Finding(f"scan {backend}", "absent", state)
            continue
        error = self_test(backend)
        status: Status = "ok" if error < _SCAN_TOLERANCE else "failed"
        yield Finding(f"scan {backend}", status, f"largest relative error against the fp64 oracle {error:.1e}")


def _weights() -> Iterator[Finding]:
    from posecli.weights import WEIGHTS, cache_folder, verify_weights

    checks = verify_weights()
    for check in checks:
        is_needed = WEIGHTS[check.name].is_embedded
        if check.status == "absent" and not is_needed:
            continue
        status: Status = "failed" if check.status == "corrupt" else check.status
        if check.status == "absent" and is_needed:
            status = "failed"
        remedy = None if check.status == "ok" or is_needed else f"posecli weights fetch {check.name}"
        yield Finding(f"weights {check.name}", status, check.detail, remedy)
    if num_absent := sum(check.status == "absent" and not WEIGHTS[check.name].is_embedded for check in checks):
        yield Finding("weights to fetch", "ok", f"{num_absent} public ones are known: posecli weights list")
    yield Finding("cache", "ok", str(cache_folder()))
