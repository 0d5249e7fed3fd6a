"""Runs real batches for the fault tests: a process that has imported everything once and is copied for each of them.

A batch is ``posecli batch`` as the command line has it, with worker processes, files and signals; only that its processes are forked
from this one instead of being started afresh, which saves seconds of imports each. The process lives in a mount namespace of its own
where that is allowed, so that small and read-only disks can be had, and vanish with it.

Reads requests from stdin, a line of JSON each, and answers on stdout.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_LIMITS = {"memory": resource.RLIMIT_AS, "file": resource.RLIMIT_FSIZE}


def main() -> None:
    can_mount = own_namespace()
    load_everything()
    answer({"can_mount": can_mount})
    codes: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            answer({"process_id": start(request)})
        elif request["do"] == "poll":
            answer({"code": poll(request["process_id"], codes)})
        else:
            done = subprocess.run(request["words"], capture_output=True, text=True, check=False)
            answer({"code": done.returncode, "said": done.stderr})


def answer(content: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def own_namespace() -> bool:
    """Whether this process may mount what nobody else sees."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_CLONE_NEWNS if user == 0 else _CLONE_NEWNS | _CLONE_NEWUSER) != 0:
        return False
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    private = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False)
    return private.returncode == 0


def load_everything() -> None:
    import torch

    import posecli.batch.run
    import posecli.batch.worker
    import posecli.cli.app
    import posecli.cli.batch
    import posecli.pipeline.annotate
    import posecli.pipeline.models
    import posecli.pipeline.threads  # noqa: F401

    torch.set_num_threads(1)


def start(request: dict[str, Any]) -> int:
    process_id = os.fork()
    if process_id:
        return process_id
    code = 70
    try:
        code = be_posecli(request)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def be_posecli(request: dict[str, Any]) -> int:
    """The copy becomes the command."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing = os.open(os.devnull, os.O_RDONLY)
    said = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for target, stream in ((0, nothing), (1, said), (2, said)):
        os.dup2(stream, target)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    for name, value in request["limits"].items():
        resource.setrlimit(_LIMITS[name], (value, value))
    fork_workers()
    if request["prelude"] is not None:
        runpy.run_path(request["prelude"])
    sys.argv = ["posecli", *request["words"]]
    from posecli.cli.app import main as command

    try:
        command()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def fork_workers() -> None:
    import multiprocessing

    context = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda method=None: context  # type: ignore[assignment]


def poll(process_id: int, codes: dict[int, int]) -> int | None:
    if process_id not in codes:
        ended, status = os.waitpid(process_id, os.WNOHANG)
        if not ended:
            return None
        codes[process_id] = os.waitstatus_to_exitcode(status)
    return codes[process_id]


if __name__ == "__main__":
    main()
