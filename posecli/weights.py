"""Weights by name: a registry, the embedded files, a cache, verified reading and atomic writing.

A weights file is safetensors; its header carries one metadata key, ``posecli``, with JSON ``{kind, config, metadata}``. Embedded
weights lie in ``weights/`` of the repository (``posecli/_weights`` of an installed wheel) beside ``manifest.json``, which says
what each must hash to. Remote ones are fetched once into the cache: ``POSECLI_HOME``, else the user's cache folder.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from posecli.atomic import atomic_path, write_atomic
from posecli.download import ByteProgress, download, file_sha256
from posecli.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST_NAME = "manifest.json"
_METADATA_KEY = "posecli"
_REINSTALL_HINT = "reinstall posecli, or restore the file from the repository"


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One released file: what it is, where it comes from, and what it must hash to.

    ``kind`` says which network reads it (``pose``, ``detector``, ``lifting``); ``file`` is a bare file name; ``url`` is ``None`` for
    embedded weights; ``skeleton`` is ``None`` where the network predicts no keypoints.
    """

    name: str
    kind: str
    file: str
    sha256: str
    num_bytes: int
    licence: str
    description: str
    skeleton: str | None = None
    url: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise WeightsError(f"weights {self.name}: sha256 is not 64 hexadecimal digits: {self.sha256!r}")
        if self.num_bytes <= 0:
            raise WeightsError(f"weights {self.name}: num_bytes must be positive, not {self.num_bytes}")
        if not self.file or Path(self.file).name != self.file:
            raise WeightsError(f"weights {self.name}: file must be a bare file name, not {self.file!r}")

    @property
    def is_embedded(self) -> bool:
        """Whether the file comes with posecli itself."""
        return self.url is None

    @property
    def path(self) -> Path:
        """Where the file is, or would be after `fetch_weights`."""
        if self.is_embedded:
            return embedded_folder() / self.file
        stem, suffix = os.path.splitext(self.file)
        return cache_folder() / "weights" / f"{stem}-{self.sha256[:8]}{suffix}"


@dataclass(frozen=True, slots=True)
class WeightsHeader:
    """What a weights file says about itself, readable without torch."""

    kind: str
    config: dict[str, Any]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class LoadedWeights:
    """A weights file in memory. ``sha256`` is that of the file just read; tensors are on the CPU."""

    name: str
    path: Path
    sha256: str
    kind: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WeightsCheck:
    """The outcome of `verify_weights` for one entry; ``absent`` is normal for remote weights that nobody asked for yet."""

    name: str
    path: Path
    status: Literal["ok", "absent", "corrupt"]
    detail: str


_REMOTE: tuple[WeightsEntry, ...] = ()


class _Registry(Mapping[str, WeightsEntry]):
    """Embedded and remote entries by name; the manifest is read at the first look, not at import."""

    @functools.cached_property
    def _entries(self) -> dict[str, WeightsEntry]:
        entries = (*read_manifest(embedded_folder() / MANIFEST_NAME), *_REMOTE)
        return {entry.name: entry for entry in entries}

    def __getitem__(self, name: str) -> WeightsEntry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


WEIGHTS: Mapping[str, WeightsEntry] = _Registry()


@functools.cache
def embedded_folder() -> Path:
    """The folder of the embedded weights: inside the wheel, else in the checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_weights"
    return installed if installed.is_dir() else package.parent / "weights"


def cache_folder() -> Path:
    """Where downloads are kept: ``POSECLI_HOME``, else the user's cache folder."""
    if home := os.environ.get("POSECLI_HOME"):
        return Path(home).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("posecli"))


def read_manifest(path: Path) -> list[WeightsEntry]:
    """Read a ``manifest.json``.

    Args:
        path: The manifest.

    Returns:
        Its entries, in file order.

    Raises:
        WeightsError: The manifest is missing or malformed.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["weights"]
        return [WeightsEntry(**row) for row in rows]
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}", hint=_REINSTALL_HINT) from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path}: not a weights manifest: {error}", hint=_REINSTALL_HINT) from error


def register_weights(
    path: Path, *, name: str, description: str, licence: str = "Apache-2.0", skeleton: str | None = None
) -> WeightsEntry:
    """Enter a weights file into the ``manifest.json`` beside it, replacing an entry of the same name.

    Args:
        path: A file written by `save_weights`.
        name: The name users will say.
        description: One line.
        licence: SPDX identifier of the weights' licence.
        skeleton: Name of the skeleton the network predicts, if any.

    Returns:
        The new entry.

    Raises:
        WeightsError: The file or the manifest is malformed.
        OutputError: The manifest cannot be written.
    """
    entry = WeightsEntry(
        name=name,
        kind=read_header(path).kind,
        file=path.name,
        sha256=file_sha256(path),
        num_bytes=path.stat().st_size,
        licence=licence,
        description=description,
        skeleton=skeleton,
    )
    manifest = path.parent / MANIFEST_NAME
    kept = [old for old in read_manifest(manifest) if old.name != name] if manifest.exists() else []
    rows = [asdict(row) for row in sorted([*kept, entry], key=lambda row: row.name)]
    for row in rows:
        del row["url"]  # what lies beside the manifest needs no address
    write_atomic(manifest, (json.dumps({"weights": rows}, indent=2) + "\n").encode(), overwrite=True)
    return entry


def resolve_weights(name_or_path: str | Path, *, progress: ByteProgress | None = None) -> Path:
    """Find a weights file; remote ones are fetched when the cache lacks them.

    Args:
        name_or_path: A registered name, or the path of a safetensors file.
        progress: Called during a download.

    Returns:
        The path of an existing file.

    Raises:
        WeightsError: The name is unknown, the file is missing, or it cannot be fetched.
    """
    if str(name_or_path) in WEIGHTS:
        entry = WEIGHTS[str(name_or_path)]
        return entry.path if entry.path.is_file() else fetch_weights(entry, progress=progress)
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    if path.suffix == ".safetensors" or path.name != str(name_or_path):
        raise WeightsError(f"{path}: no such weights file", hint=_known_names())
    raise WeightsError(f"unknown weights {str(name_or_path)!r}", hint=_known_names())


def load_weights(name_or_path: str | Path, *, progress: ByteProgress | None = None) -> LoadedWeights:
    """Read a weights file whole, after checking that it is what the registry says.

    Args:
        name_or_path: A registered name, or the path of a file written by `save_weights`.
        progress: Called during a download.

    Returns:
        The tensors with their configuration.

    Raises:
        WeightsError: See `resolve_weights`; also when the file is corrupt or was not written by posecli.
    """
    path = resolve_weights(name_or_path, progress=progress)
    entry = WEIGHTS.get(str(name_or_path))
    sha256 = file_sha256(path)
    if entry is not None and sha256 != entry.sha256:
        raise _corrupt(path, f"checksum is {sha256[:12]}..., expected {entry.sha256[:12]}...", entry)
    header = read_header(path)
    from safetensors.torch import load_file

    return LoadedWeights(
        name=str(name_or_path) if entry is not None else path.stem,
        path=path,
        sha256=sha256,
        kind=header.kind,
        config=header.config,
        tensors=load_file(path),
        metadata=header.metadata,
    )


def read_header(path: Path) -> WeightsHeader:
    """Read what a weights file says about itself, without its tensors and without torch.

    Args:
        path: The file.

    Returns:
        Kind, network configuration and further facts.

    Raises:
        WeightsError: The file is not safetensors, is cut short, or was not written by posecli.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as stream:
            text = (stream.metadata() or {}).get(_METADATA_KEY)
    except (OSError, SafetensorError) as error:
        raise _corrupt(path, str(error), None) from error
    if text is None:
        hint = "foreign checkpoints have to be converted first"
        raise WeightsError(f"{path}: safetensors, but without posecli's configuration", hint=hint)
    try:
        header = json.loads(text)
        return WeightsHeader(**{field.name: header[field.name] for field in fields(WeightsHeader)})
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupt(path, f"configuration cannot be read: {error}", None) from error


def save_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    kind: str,
    config: Mapping[str, Any],
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> str:
    """Write a weights file; the same tensors and words give the same bytes.

    Args:
        path: The file, ending in ``.safetensors``.
        tensors: Names and values, on any device.
        kind: Which network reads it.
        config: What rebuilds that network; must be JSON.
        metadata: Further facts (training, scores); must be JSON.
        overwrite: Whether an existing file may be replaced.

    Returns:
        The file's SHA-256.

    Raises:
        OutputError: The file exists or cannot be written.
    """
    from safetensors.torch import save_file

    header = {"kind": kind, "config": dict(config), "metadata": dict(metadata or {})}
    # Clones: safetensors refuses tensors that share memory, and views would drag their whole storage along.
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path, overwrite=overwrite) as temporary:
        save_file(plain, temporary, metadata={_METADATA_KEY: json.dumps(header, sort_keys=True)})
    return file_sha256(path)


def fetch_weights(entry: WeightsEntry | str, *, progress: ByteProgress | None = None) -> Path:
    """Bring weights onto this machine, if they are not there already.

    Args:
        entry: An entry, or the name of one.
        progress: Called with (bytes done, bytes in all).

    Returns:
        The path of the verified file.

    Raises:
        WeightsError: Unknown name, or see `posecli.download.download`.
    """
    if isinstance(entry, str):
        if entry not in WEIGHTS:
            raise WeightsError(f"unknown weights {entry!r}", hint=_known_names())
        entry = WEIGHTS[entry]
    check = _check(entry)
    if check.status == "ok":
        return entry.path
    if entry.url is None:
        raise WeightsError(f"{entry.path}: embedded weights are {check.status}", hint=_REINSTALL_HINT)
    download(entry.url, entry.path, sha256=entry.sha256, num_bytes=entry.num_bytes, progress=progress)
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
    if name is not None and name not in WEIGHTS:
        raise WeightsError(f"unknown weights {name!r}", hint=_known_names())
    return [_check(entry) for entry in WEIGHTS.values() if name in {None, entry.name}]


def _check(entry: WeightsEntry) -> WeightsCheck:
    if not entry.path.is_file():
        detail = "file is missing" if entry.is_embedded else "not fetched yet"
        return WeightsCheck(entry.name, entry.path, "absent", detail)
    found = file_sha256(entry.path)
    if found != entry.sha256:
        detail = f"checksum is {found[:12]}..., expected {entry.sha256[:12]}..."
        return WeightsCheck(entry.name, entry.path, "corrupt", detail)
    return WeightsCheck(entry.name, entry.path, "ok", f"sha256 {found[:12]}...")


def _corrupt(path: Path, what: str, entry: WeightsEntry | None) -> WeightsError:
    if entry is None:
        return WeightsError(f"{path}: weights file cannot be read: {what}", hint="replace the file; it is damaged")
    hint = _REINSTALL_HINT if entry.is_embedded else f"run: posecli weights fetch {entry.name}"
    return WeightsError(f"{path}: weights file is damaged: {what}", hint=hint)


def _known_names() -> str:
    return f"known names: {', '.join(WEIGHTS) or 'none'}; or give the path of a .safetensors file"
