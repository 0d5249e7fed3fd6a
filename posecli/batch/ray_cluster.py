"""The connection to Ray: one started for us on this machine, or a cluster that is there; what it has, and whether it works.

Nothing is reported to Ray's makers (``RAY_USAGE_STATS_ENABLED=0``), and a Ray that we start has no dashboard and listens on this
machine only.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import posecli
from posecli.errors import ConfigError, DeviceError, printable

_PACKAGE_HINT = "pip install 'posecli[ray]'"
_ADDRESS = re.compile(r"(?:ray://)?(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")
_KNOCK_S = 5.0
_TASK_S = 180.0  # a first worker process takes long on a busy machine
_STORE_BYTES = 80 * 2**20  # nearly the least Ray takes; pictures do not travel through it


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a cluster and what Ray may hand out of it."""

    host: str
    is_alive: bool
    cpus: float
    gpus: float

    def rooms(self, *, cpus: float, gpus: float) -> int:
        """How many workers that want so much fit."""
        if not self.is_alive:
            return 0
        by_cpu = int(self.cpus // cpus)
        return by_cpu if gpus <= 0 else min(by_cpu, int(self.gpus) * int(1 / gpus + 1e-9))


@dataclass(frozen=True, slots=True)
class Trial:
    """Where a task ran, with which versions, and how long it took from asking to the answer."""

    host: str
    python: str
    ray: str
    posecli: str
    seconds: float


@contextlib.contextmanager
def connected(address: str | None, *, num_cpus: int | None = None) -> Iterator[Any]:
    """Be connected to Ray; a connection that this process has already is used, and left as it is.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT``, ``auto`` (a cluster this machine belongs to); ``None``: start one here.
        num_cpus: Of the one started here.

    Yields:
        The module ``ray``.

    Raises:
        ConfigError: The address is none.
        DeviceError: Ray is not installed or cannot be started, or nobody answers there.
    """
    if address is not None:
        _knock(address)
    ray = _import_ray()
    with _quiet(ray):
        if ray.is_initialized():
            yield ray
            return
        folder = None if address is not None else tempfile.mkdtemp(prefix="posecli-ray-")
        with _own_signals():
            try:
                _begin(ray, address, folder, num_cpus)
                yield ray
            finally:
                ray.shutdown()
                if folder is not None:
                    shutil.rmtree(folder, ignore_errors=True)


def list_nodes(ray: Any) -> list[Node]:
    """All machines of the cluster, in the order of their names."""
    nodes = []
    for node in ray.nodes():
        resources = node.get("Resources", {})
        host = str(node.get("NodeManagerHostname") or node.get("NodeManagerAddress"))
        nodes.append(Node(host, bool(node["Alive"]), resources.get("CPU", 0.0), resources.get("GPU", 0.0)))
    return sorted(nodes, key=lambda node: (node.host, not node.is_alive))


def try_task(ray: Any) -> Trial:
    """Run one small task.

    Raises:
        DeviceError: It fails, or nobody does it in time.
    """
    start = perf_counter()
    try:
        answer = ray.get(ray.remote(_say_versions).options(num_cpus=1, max_retries=0).remote(), timeout=_TASK_S)
    except ray.exceptions.GetTimeoutError as error:
        raise DeviceError(
            f"no Ray worker did a task in {_TASK_S:g} s", hint="is the cluster busy? ray status"
        ) from error
    except ray.exceptions.RayError as error:
        raise DeviceError(f"a task failed on Ray: {_short(error)}", hint="is posecli on all nodes?") from error
    host, python, version, own_version = answer
    return Trial(host, python, version, own_version, perf_counter() - start)


def _say_versions() -> tuple[str, str, str, str]:
    import ray

    return platform.node(), platform.python_version(), ray.__version__, posecli.__version__


def _import_ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when it is imported, and by what it starts
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # what it will do by default one day; says so otherwise
    os.environ.setdefault(
        "RAY_worker_niceness", "0"
    )  # of a Ray that we start; by default its workers yield to everybody else
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
            import ray.exceptions
    except ImportError as error:
        raise DeviceError("Ray is not installed", hint=_PACKAGE_HINT) from error
    return ray


def _knock(address: str) -> None:
    """Ray itself asks for minutes, and then ends the process."""
    if address == "auto":
        return
    found = _ADDRESS.fullmatch(address)
    if found is None or not 0 < int(found["port"]) < 65536:
        raise ConfigError(
            f"Ray address {printable(address)!r} is none", hint="HOST:PORT (6379 as a rule), ray://HOST:PORT, or auto"
        )
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=_KNOCK_S).close()
    except OSError as error:
        raise _unreachable(address, error.strerror or str(error)) from error


def _begin(ray: Any, address: str | None, folder: str | None, num_cpus: int | None) -> None:
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        common |= {
            "include_dashboard": False,
            "num_cpus": num_cpus,
            "object_store_memory": _STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": folder,
        }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(address=address or "local", **common)
    except (ConnectionError, TimeoutError, OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if address is None:
            raise DeviceError(f"Ray cannot be started here: {_short(error)}") from error
        raise _unreachable(address, _short(error)) from error


def _unreachable(address: str, why: str) -> DeviceError:
    what = f"no Ray cluster can be reached at {address}: {why}"
    return DeviceError(what, hint="start one with: ray start --head; or leave out --address to use this machine alone")


def _short(error: BaseException) -> str:
    """The first line that says something; Ray's errors are pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself; give it back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Ray prints pages about every dead worker to stdout, where JSON may be; the ledger says it in a line."""
    module = ray._private.worker
    original = getattr(module, "print_to_stdstream", None)
    if original is None:
        yield
        return
    module.print_to_stdstream = lambda *args, **kwargs: None
    try:
        yield
    finally:
        module.print_to_stdstream = original


__all__ = ["Node", "Trial", "connected", "list_nodes", "try_task"]
