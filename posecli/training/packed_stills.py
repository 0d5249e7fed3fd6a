"""Labelled stills made smaller: only the people and pictures that recipes train on, only as much of a picture as they see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
import orjson

from posecli.errors import ConfigError, FormatError
from posecli.formats.document import load_json
from posecli.formats.ground_truth import LabelledImage, read_ground_truth
from posecli.records import FloatArray, IntArray
from posecli.training.detector.recipe import BoxDataConfig
from posecli.training.recipe import DataConfig
from posecli.training.stills import MAX_BOX_PX, is_usable, surroundings

StillsConfig = DataConfig | BoxDataConfig

_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Cut:
    """Part of a picture, scaled: where the labels go.

    Attributes:
        corner: (2,) px of the whole picture, top left.
        factor: At most 1.
        size_wh: Of the cut, px.
    """

    corner: tuple[int, int]
    factor: float
    size_wh: tuple[int, int]

    def points(self, points: np.ndarray) -> np.ndarray:
        """(..., 2) px of the whole picture -> px of the cut; centres of pixels, not corners."""
        return (points - np.array(self.corner)) * self.factor + 0.5 * (self.factor - 1.0)


@dataclass(slots=True)
class PictureNeed:
    """What of a picture is trained on.

    Attributes:
        path: The file.
        boxes: (4,) xyxy px each, of the people.
        is_whole: Whether all of it is needed.
    """

    path: Path
    boxes: list[FloatArray] = field(default_factory=list)
    is_whole: bool = False

    def smaller(self, quality: int) -> tuple[bytes, Cut | None]:
        """The content to pack: a JPEG of what is needed, or the file as it is where that is no larger.

        Args:
            quality: Of the JPEG, 1..100.

        Returns:
            The bytes; and where they lie in the picture, ``None`` if they are all of it.

        Raises:
            FormatError: The file cannot be read as an image, or a person is outside of it.
        """
        original = read_bytes(self.path)
        image = cv2.imdecode(np.frombuffer(original, np.uint8), cv2.IMREAD_COLOR) if original else None
        if image is None:
            raise FormatError(f"{self.path}: cannot be read as an image")
        cut = None if self.is_whole else self._cut(image.shape[1], image.shape[0])
        part = image
        if cut is not None:
            x, y = cut.corner
            part = image[y : y + cut.size_wh[1], x : x + cut.size_wh[0]]
            if cut.factor < 1.0:
                part = cv2.resize(part, None, fx=cut.factor, fy=cut.factor, interpolation=cv2.INTER_AREA)
            cut = Cut(cut.corner, cut.factor, (part.shape[1], part.shape[0]))
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        encoded = cv2.imencode(".jpg", part, options)[1].tobytes()
        return (encoded, cut) if len(encoded) < len(original) else (original, None)

    def _cut(self, width: int, height: int) -> Cut:
        """Around all people's surroundings, scaled down as far as the smallest of them allows; sizes before scaling."""
        boxes = np.stack(self.boxes)
        longest, seen = (boxes[:, 2:] - boxes[:, :2]).max(axis=1), surroundings(boxes)
        low = np.maximum(np.floor(seen[:, :2]).min(axis=0), 0).astype(int)
        high = np.minimum(np.ceil(seen[:, 2:]).max(axis=0), [width, height]).astype(int)
        if (high <= low).any():
            raise FormatError(f"{self.path}: {width}x{height} px, but its people are outside of it")
        factor = MAX_BOX_PX / max(float(MAX_BOX_PX), float(longest.min()))
        return Cut((int(low[0]), int(low[1])), factor, (int(high[0] - low[0]), int(high[1] - low[1])))


class LabelFile:
    """A COCO-style file and what recipes need of it.

    Args:
        name: Relative to the data folder.
        root: The data folder.
        is_kept_as_it_is: Whether the file travels unchanged, so that its pictures must, too.

    Raises:
        FormatError: It cannot be read.
    """

    def __init__(self, name: str, root: Path, *, is_kept_as_it_is: bool = False) -> None:
        self.name = name
        self.is_kept_as_it_is = is_kept_as_it_is
        self._root = root
        self._truth = read_ground_truth(root / name)
        self._rows_by_image = self._truth.rows_by_image()
        self._is_needed = np.zeros(len(self._truth), np.bool_)
        self._pictures: dict[int, str] = {}

    def require(self, config: StillsConfig, pictures: dict[str, PictureNeed]) -> None:
        """Note what a recipe's set needs.

        Args:
            config: The set.
            pictures: Needs so far, by path relative to the data folder; added to.

        Raises:
            ConfigError: A path leads out of the data folder.
            FormatError: Nobody is left.
        """
        num_found = 0
        for image, rows in self._chosen(config):
            name = member_name(config.images, image.file_name)
            need = pictures.setdefault(name, PictureNeed(self._root / name))
            need.boxes += list(self._truth.boxes[rows])
            # labels of one file cannot fit two different cuts
            other = self._pictures.setdefault(image.image_id, name)
            need.is_whole |= isinstance(config, BoxDataConfig) or self.is_kept_as_it_is or other != name
            pictures[other].is_whole |= other != name
            self._is_needed[rows] = True
            num_found += 1
        if not num_found:
            wanted = "no picture" if isinstance(config, BoxDataConfig) else "no person with enough labelled points"
            raise FormatError(f"{self._truth.path}: {wanted} is left for training")

    def _chosen(self, config: StillsConfig) -> Iterator[tuple[LabelledImage, IntArray]]:
        """The pictures a set trains on and the rows of their people, as `load_stills` and `load_pictures` choose."""
        # whom a recipe leaves out by id travels, too: `load_stills` wants to find the id
        truth = self._truth
        is_chosen = np.ones(len(truth), np.bool_) if isinstance(config, BoxDataConfig) else is_usable(truth, config)
        for image in truth.images:
            if config.holdout_modulo and image.image_id % config.holdout_modulo == 0:
                continue
            rows = self._rows_by_image[image.image_id]
            rows = rows[is_chosen[rows]]
            if len(rows) or isinstance(config, BoxDataConfig):
                yield image, rows

    def rewritten(self, cuts: Mapping[str, Cut]) -> bytes:
        """The file with the people and pictures that are needed, in its order.

        Args:
            cuts: Of those pictures that have been cut.

        Returns:
            JSON.
        """
        content = load_json(self._truth.path).value
        people = _people(content)
        image_cuts = {image_id: cuts.get(name) for image_id, name in self._pictures.items()}
        kept = [person for person, is_needed in zip(people, self._is_needed, strict=True) if is_needed]
        content["annotations"] = [_moved(person, image_cuts[int(person["image_id"])]) for person in kept]
        content["images"] = [
            _resized(image, image_cuts[int(image["id"])])
            for image in content["images"]
            if int(image["id"]) in image_cuts
        ]
        return orjson.dumps(content)


def member_name(*parts: str) -> str:
    """Joined path relative to the data folder, with slashes.

    Raises:
        ConfigError: It leads out of the folder.
    """
    path = PurePosixPath(*parts)
    if path.is_absolute() or ".." in path.parts:
        raise ConfigError(
            f"{path}: not inside the data folder", hint="name it relative to the folder given with --data"
        )
    return str(path)


def read_bytes(path: Path) -> bytes:
    """A whole file.

    Raises:
        FormatError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def _people(content: dict[str, Any]) -> Sequence[dict[str, Any]]:
    """The annotations that `read_ground_truth` takes for people, in its order."""
    categories = content["categories"]
    ids = {category["id"] for category in categories if category["name"] == "person"} or {categories[0]["id"]}
    return [person for person in content["annotations"] if person["category_id"] in ids]


def _moved(person: dict[str, Any], cut: Cut | None) -> dict[str, Any]:
    """A person's labels where the cut has them. Outlines, which training does not read, are left out."""
    moved = {key: value for key, value in person.items() if key != "segmentation"}
    if cut is None:
        return moved
    box = np.array(person["bbox"], np.float64)
    moved["bbox"] = [*cut.points(box[:2]).round(_DECIMALS).tolist(), *(box[2:] * cut.factor).round(_DECIMALS).tolist()]
    if person.get("area") is not None:
        moved["area"] = round(person["area"] * cut.factor**2, _DECIMALS)
    if person.get("keypoints") is not None:
        points = np.array(person["keypoints"], np.float64).reshape(-1, 3)
        places = np.where(points[:, 2:] > 0, cut.points(points[:, :2]), 0.0).round(_DECIMALS)
        moved["keypoints"] = [
            v for (x, y), flag in zip(places.tolist(), points[:, 2], strict=True) for v in (x, y, int(flag))
        ]
    return moved


def _resized(image: dict[str, Any], cut: Cut | None) -> dict[str, Any]:
    return image if cut is None else {**image, "width": cut.size_wh[0], "height": cut.size_wh[1]}
