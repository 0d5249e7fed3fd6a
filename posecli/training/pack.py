"""Exactly what recipes need of a data folder, in zip files that can travel to another machine."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from posecli.errors import ConfigError, FormatError
from posecli.training.detector.recipe import BoxDataConfig, read_detector_recipe
from posecli.training.packed_stills import LabelFile, PictureNeed, StillsConfig, member_name, read_bytes
from posecli.training.pieces import Piece, open_pieces, too_large, write_record
from posecli.training.recipe import DataConfig, RenderedConfig, read_recipe
from posecli.training.synthetic.shards import count_windows
from posecli.weights import WEIGHTS

PIECE_BYTES = 60_000_000
QUALITY = 90
_RENDERING = "rendering.json"


@dataclass(frozen=True, slots=True)
class Pack:
    """What was packed.

    Attributes:
        pieces: In the order of their names.
        num_files: In all of them.
        weights: Files that recipes start from; they are no data and are not packed.
    """

    pieces: tuple[Piece, ...]
    num_files: int
    weights: tuple[str, ...]


@dataclass(slots=True)
class _Needs:
    stills: list[StillsConfig] = field(default_factory=list)
    rendered: list[RenderedConfig] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)


def pack_data(
    recipes: Sequence[Path],
    data: Path,
    folder: Path,
    *,
    add: Sequence[str] = (),
    rendered_count: int = 0,
    quality: int = QUALITY,
    piece_bytes: int = PIECE_BYTES,
    overwrite: bool = False,
    report: Callable[[int, int], None] | None = None,
) -> Pack:
    """Write pieces that, unpacked over each other, are a data folder to train these recipes with.

    Pictures for pose recipes are cut to the surroundings of their people and scaled as training would do it, with the labels
    rewritten; those for detectors stay whole. Held-out pictures stay behind, and people no recipe trains on.

    Args:
        recipes: Of poses and of detectors.
        data: Folder that their paths are relative to.
        folder: Where the pieces go; created if missing.
        add: Further files or folders, relative to ``data``, as they are.
        rendered_count: So many rendered windows of each folder, up to the end of a file (0: as the recipes say).
        quality: Of JPEGs, 1..100.
        piece_bytes: Size of a piece, at most.
        overwrite: Whether pieces in the folder may be replaced.
        report: Called with (done, all) files.

    Returns:
        The finished pieces.

    Raises:
        ConfigError: A recipe is wrong, a path leads out of the folder, or a file is larger than a piece.
        FormatError: Labels, a picture or a rendered window cannot be read.
        OutputError: The pieces exist already or cannot be written.
    """
    needs = _read_needs(recipes)
    files = _added_files(add, data) | _rendered_files(needs.rendered, data, rendered_count)
    for name, path in files.items():
        if path.stat().st_size > piece_bytes:
            raise too_large(name, path.stat().st_size, piece_bytes)
    labels, pictures = _read_labels(needs.stills, data, set(files))
    with open_pieces(folder, piece_bytes=piece_bytes, overwrite=overwrite) as pieces:
        num_files = 0
        total = len(files) + len(pictures) + len(labels)
        for name, content in _contents(files, labels, pictures, quality):
            pieces.add(name, content)
            num_files += 1
            if report is not None:
                report(num_files, total)
    return Pack(tuple(write_record(pieces)), num_files, tuple(dict.fromkeys(needs.weights)))


def _contents(
    files: dict[str, Path], labels: Sequence[LabelFile], pictures: dict[str, PictureNeed], quality: int
) -> Iterator[tuple[str, bytes]]:
    """Names and bytes; files as they are first, as they are the likeliest not to fit."""
    for name, path in files.items():
        yield name, read_bytes(path)
    cuts = {}
    for name, need in pictures.items():
        content, cut = need.smaller(quality)
        yield name, content
        if cut is not None:
            cuts[name] = cut
    for label_file in labels:
        yield label_file.name, label_file.rewritten(cuts)


def _read_needs(recipes: Sequence[Path]) -> _Needs:
    needs = _Needs()
    for path in recipes:
        if _is_detector_recipe(path):
            needs.stills += read_detector_recipe(path).data
            continue
        recipe = read_recipe(path)
        needs.stills += recipe.data
        needs.rendered += recipe.rendered
        needs.weights += [name for name in (recipe.initial, recipe.initial_encoder) if name and name not in WEIGHTS]
    return needs


def _is_detector_recipe(path: Path) -> bool:
    """A detector has one schedule, a pose network stages; what is no TOML at all, the reader of recipes explains."""
    try:
        return "schedule" in tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return False


def _read_labels(
    stills: Sequence[DataConfig | BoxDataConfig], data: Path, as_they_are: set[str]
) -> tuple[list[LabelFile], dict[str, PictureNeed]]:
    """The label files to be rewritten and the pictures to be made smaller; ``as_they_are`` lists files packed anyway."""
    labels: dict[str, LabelFile] = {}
    pictures: dict[str, PictureNeed] = {}
    for config in stills:
        name = member_name(config.annotations)
        if name not in labels:
            labels[name] = LabelFile(name, data, is_kept_as_it_is=name in as_they_are)
        labels[name].require(config, pictures)
    return (
        [label_file for label_file in labels.values() if not label_file.is_kept_as_it_is],
        {name: need for name, need in pictures.items() if name not in as_they_are},
    )


def _rendered_files(rendered: Sequence[RenderedConfig], data: Path, limit: int) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for config in rendered:
        folder = member_name(config.folder)
        if limit and config.count > limit:
            raise ConfigError(
                f"{folder}: a recipe wants {config.count} windows, more than --rendered-count {limit}",
                hint="pass more, or lower count in the recipe",
            )
        names = [path.name for path in _shards(data / folder, config.count, limit)]
        if (data / folder / _RENDERING).is_file():
            names.append(_RENDERING)
        files |= {member_name(folder, name): data / folder / name for name in names}
    return files


def _shards(folder: Path, count: int, limit: int) -> list[Path]:
    """The files of the first windows, as many as the recipe counts or, if it counts none, as the limit allows."""
    shards: list[Path] = []
    wanted, found = count or limit, 0
    for path in sorted(folder.glob("windows-*.npz")):
        if wanted and found >= wanted:
            break
        found += count_windows(path)
        shards.append(path)
    if not shards:
        raise FormatError(f"{folder}: no rendered windows in it", hint="render some with posecli synth windows")
    if found < count:
        raise ConfigError(
            f"{folder}: {found} windows, the recipe wants {count}", hint="render more with posecli synth windows"
        )
    return shards


def _added_files(add: Sequence[str], data: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for given in add:
        name = member_name(given)
        path = data / name
        if path.is_file():
            files[name] = path
            continue
        inside = sorted(Path(folder, file) for folder, _, names in os.walk(path, followlinks=True) for file in names)
        if not inside:
            raise ConfigError(f"{path}: no such file or folder, or an empty one", hint="--add is relative to --data")
        files |= {file.relative_to(data).as_posix(): file for file in inside}
    return files
