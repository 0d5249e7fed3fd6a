"""The files on this machine: found, fetched, verified, cleared away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from posecli.download import ByteProgress, Patience, download, file_sha256, locked
from posecli.errors import OutputError, WeightsError
from posecli.weights.entry import WeightsEntry
from posecli.weights.folders import cache_folder
from posecli.weights.registry import REINSTALL_HINT, WEIGHTS, known_entry, known_names
from posecli.weights.wholeness import check_whole


@dataclass(frozen=True, slots=True)
class WeightsCheck:
    """The outcome of `verify_weights` for one entry; ``absent`` is normal for remote weights that nobody asked for yet."""

    name: str
    path: Path
    status: Literal["ok", "absent", "corrupt"]
    detail: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A file that `prune_cache` took away, or would."""

    path: Path
    num_bytes: int


def resolve_weights(
    name_or_path: str | Path, *, progress: ByteProgress | None = None, patience: Patience | None = None
) -> Path:
    """Find a weights file; remote ones are fetched when the cache lacks them.

    Args:
        name_or_path: A registered name, or the path of a safetensors file.
        progress: Called during a download.
        patience: How long a download waits and how often it tries.

    Returns:
        The path of an existing file.

    Raises:
        WeightsError: The name is unknown, the file is missing, or it cannot be fetched.
        OutputError: The cache cannot be written.
    """
    if str(name_or_path) in WEIGHTS:
        entry = WEIGHTS[str(name_or_path)]
        is_here = entry.path.is_file() and entry.expected_sha256() is not None
        return entry.path if is_here else fetch_weights(entry, progress=progress, patience=patience)
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if path.suffix == ".safetensors" or path.name != str(name_or_path):
        raise WeightsError(f"{path}: no such weights file", hint=known_names())
    raise WeightsError(f"unknown weights {str(name_or_path)!r}", hint=known_names())


def fetch_weights(
    entry: WeightsEntry | str, *, progress: ByteProgress | None = None, patience: Patience | None = None
) -> Path:
    """Bring weights onto this machine, if they are not there already.

    Where no checksum is published, the first fetch checks that the file is whole and records its checksum beside it
    (`WeightsEntry.record_path`); every later fetch and `verify_weights` hold it against the record.

    Args:
        entry: An entry, or the name of one.
        progress: Called with (bytes done, bytes in all).
        patience: How long to wait and how often to try.

    Returns:
        The path of the verified file.

    Raises:
        WeightsError: Unknown name, or see `posecli.download.download`.
        OutputError: The cache cannot be written.
    """
    if isinstance(entry, str):
        entry = known_entry(entry)
    check = _check(entry)
    if check.status == "ok":
        return entry.path
    if entry.is_embedded:
        raise WeightsError(f"{entry.path}: embedded weights are {check.status}", hint=REINSTALL_HINT)
    try:
        download(
            entry.urls,
            entry.path,
            sha256=entry.expected_sha256,
            num_bytes=entry.num_bytes,
            max_bytes=entry.max_bytes,
            accept=None if entry.sha256 is not None else lambda path, sha256: _trust(entry, path, sha256),
            progress=progress,
            patience=patience,
        )
    except WeightsError as error:
        if entry.sha256 is None and "checksum is" in error.message:
            hint = f"it is not what the first fetch gave; if the change is meant, remove {entry.record_path} and fetch again"
            raise WeightsError(error.message, hint=hint) from error
        raise
    return entry.path


def verify_weights(name: str | None = None) -> list[WeightsCheck]:
    """Hash the files on this machine against the registry; nothing is fetched.

    Args:
        name: One entry, or ``None`` for all.

    Returns:
        One row per entry.

    Raises:
        WeightsError: The name is unknown.
    """
    entries = WEIGHTS.values() if name is None else [known_entry(name)]
    return [_check(entry) for entry in entries]


def prune_cache(*, is_dry_run: bool = False) -> list[Removed]:
    """Remove from the cache's weights what no registered entry names, and downloads that nobody finishes now.

    Folders, and files that another process is fetching at this moment, are left alone; so are the locks of registered entries.

    Args:
        is_dry_run: Only say what would be removed.

    Returns:
        The files, in the order of their names.

    Raises:
        OutputError: A file cannot be removed.
    """
    folder = cache_folder() / "weights"
    remote = [entry for entry in WEIGHTS.values() if not entry.is_embedded]
    kept = {name for entry in remote for name in (entry.path.name, entry.record_path.name, _lock(entry.path).name)}
    removed = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name in kept or (path.is_dir() and not path.is_symlink()) or _is_being_fetched(path):
            continue
        removed.append(Removed(path, path.lstat().st_size))
        if not is_dry_run:
            try:
                path.unlink()
            except OSError as error:
                raise OutputError(f"{path}: cannot be removed: {error.strerror}") from error
    return removed


def _trust(entry: WeightsEntry, path: Path, sha256: str) -> None:
    """Record the checksum of a first fetch, before the file is put in place."""
    if entry.expected_sha256() is None:
        check_whole(path, suffix=entry.path.suffix)
        entry.record(sha256)


def _check(entry: WeightsEntry) -> WeightsCheck:
    if not entry.path.is_file():
        detail = "file is missing" if entry.is_embedded else "not fetched yet"
        return WeightsCheck(entry.name, entry.path, "absent", detail)
    expected = entry.expected_sha256()
    if expected is None:
        return WeightsCheck(entry.name, entry.path, "corrupt", "its recorded checksum is gone")
    found = file_sha256(entry.path)
    recorded = "" if entry.sha256 is not None else ", as recorded at the first fetch"
    if found != expected:
        detail = f"checksum is {found[:12]}..., expected {expected[:12]}...{recorded}"
        return WeightsCheck(entry.name, entry.path, "corrupt", detail)
    return WeightsCheck(entry.name, entry.path, "ok", f"sha256 {found[:12]}...{recorded}")


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _is_being_fetched(path: Path) -> bool:
    """Whether the file is an unfinished download (or its lock) that another process holds."""
    name = path.name
    for suffix in (".part.json", ".part"):
        name = name.removesuffix(suffix)
    lock = path if name.endswith(".lock") else _lock(path.with_name(name))
    if (path.name == name and lock != path) or not lock.is_file():
        return False
    with locked(lock, is_patient=False) as is_ours:
        return not is_ours
