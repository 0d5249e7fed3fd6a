"""Runs the cases of one group here, one after another, each in a fenced folder: ``hostile_runner.py GROUP FOLDER FIRST``.

Lines of JSON go to ``FOLDER/results.jsonl``: one when a case begins, one when it ends. The fence: memory (RLIMIT_AS), size of files
(RLIMIT_FSIZE), warnings as errors, and a look at what lies around after every case. Time is watched by the parent.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import resource
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from posecli.errors import PoseCliError  # noqa: E402
from tests.hostile.hostile_case import Case, Places  # noqa: E402

MEMORY_BYTES = 3 * 1024**3
FILE_BYTES = 256 * 1024**2
_LITTER = re.compile(r"/\.[^/]*\.[0-9a-f]{8}\.(partial|probe)")


def main(group: str, folder: Path, first: int) -> None:
    """Run the cases from number ``first`` on."""
    module = importlib.import_module(f"tests.hostile.hostile_{group}")
    cases: list[Case] = module.cases()
    _check_unique(cases)
    _fence(folder)
    warnings.simplefilter("error")
    with (folder / "results.jsonl").open("a", encoding="utf-8") as results:
        _say(results, event="cases", count=len(cases))
        for number, case in enumerate(cases[first:], first):
            _say(results, event="begin", number=number, kind=case.kind, name=case.name)
            start = time.monotonic()
            outcome, detail = _run(case, folder / "nest" / "nest" / "case")
            _say(results, event="end", outcome=outcome, detail=detail, seconds=time.monotonic() - start, rss=_rss_mb())


def _check_unique(cases: list[Case]) -> None:
    names = [(case.kind, case.name) for case in cases]
    if len(set(names)) < len(names):
        raise SystemExit(f"two cases of one name: {sorted(n for n in names if names.count(n) > 1)[0]}")


def _fence(folder: Path) -> None:
    """Everything that a product may write to by accident lies where we look; memory is limited from here on."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    os.chdir(elsewhere)
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME"):
        os.environ[name] = str(elsewhere)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _run(case: Case, root: Path) -> tuple[str, str]:
    shutil.rmtree(root.parent.parent, ignore_errors=True)
    places = Places(root / "in", root / "out")
    for place in (places.inside, places.out):
        place.mkdir(parents=True)
    before = _tree(root.parent.parent.parent)
    outcome, detail = _outcome(case, places)
    strange = [name for name in sorted(_tree(root.parent.parent.parent) - before) if not _is_allowed(name)]
    if strange:
        return "outside", f"{strange[:3]} after {outcome}: {detail}"
    if (num_bytes := _num_bytes(root)) > FILE_BYTES:
        return "disk", f"{num_bytes:,} bytes after {outcome}: {detail}"
    return outcome, detail


def _is_allowed(name: str) -> bool:
    place = "nest/nest/case/"
    is_litter = _LITTER.search(name) is not None
    # among the inputs nothing but what the cases put there
    inputs = tuple(f"{place}in/{word}" for word in ("hostile", "walk", "pipe", "socket"))
    return name.startswith((*inputs, f"{place}out/")) and not is_litter


def _tree(folder: Path) -> set[str]:
    found = set()
    for parent, folders, files in os.walk(folder):
        place = os.path.relpath(parent, folder)
        found |= {os.path.normpath(os.path.join(place, name)) for name in (*folders, *files)}
    return found


def _num_bytes(folder: Path) -> int:
    """On disk, all together."""
    paths = (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sum(os.lstat(path).st_blocks * 512 for path in paths if len(path) < 4000)


def _outcome(case: Case, places: Places) -> tuple[str, str]:
    try:
        case.run(places)
    except PoseCliError as error:
        return _refusal(case, error)
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-4:]
        steps = " < ".join(f"{Path(step.filename).name}:{step.lineno}" for step in reversed(last))
        return "bug", f"{type(error).__name__}: {str(error)[:300]} [{steps}]"
    return ("accepted", "") if case.must_refuse else ("fine", "")


def _refusal(case: Case, error: PoseCliError) -> tuple[str, str]:
    text = f"{error.message} ({error.hint})"
    if not any(subject in text for subject in case.subject.split("|")):
        return "unclear", f"does not name {case.subject!r}: {text}"
    if "\n" in text.replace("\n  ", " ") and "\n" not in case.subject:
        return "unclear", f"more than one line: {text}"
    return "refused", text


def _say(results: IO[str], **facts: Any) -> None:
    results.write(json.dumps(facts, default=str) + "\n")
    results.flush()


def _rss_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
