"""annotate() from end to end: ids, counts, files, interruptions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from posecli.errors import ConfigError, OutputError, VideoError
from posecli.formats.coco import read_coco_dataset
from posecli.pipeline.annotate import Outputs, annotate
from posecli.pipeline.journal import journal_path
from posecli.pipeline.settings import AnnotateSettings
from posecli.video.source import open_source

MakeVideo = Callable[..., Path]
DetectWith = Callable[[Callable[[int, int], bool]], None]
SIZE = (96, 64)


@pytest.fixture
def video(tmp_path: Path, make_video: MakeVideo) -> Path:
    return make_video(tmp_path / "clip.mp4", 83, SIZE)


def test_two_people_get_one_id_each_and_every_frame_a_row(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    result = annotate(video, Outputs(tmp_path / "poses.json"), settings)
    annotation = read_coco_dataset(tmp_path / "poses.json")
    assert len(annotation.frames) == 83
    assert [pose.track_id for pose in annotation.poses] == [0, 1]
    assert all((pose.frame_indices == np.arange(83)).all() for pose in annotation.poses)
    assert not any(pose.interpolated.any() for pose in annotation.poses)
    boxes = annotation.poses[0].boxes
    assert np.abs(boxes[40] - [25.0, 4.0, 37.0, 30.0]).max() < 2.0
    assert result.warnings == ()
    assert not journal_path(tmp_path / "poses.json").exists()


def test_empty_stretches_are_normal(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: person == 0 and 30 <= index < 60)
    annotation = annotate(video, Outputs(tmp_path / "poses.json"), settings).annotation
    assert len(annotation.frames) == 83
    [pose] = annotation.poses
    assert 28 <= pose.frame_indices[0] <= 32


def test_a_video_without_people_gives_a_file_without_poses(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: False)
    annotate(video, Outputs(tmp_path / "poses.json", sheet=tmp_path / "sheet.png"), settings)
    content = json.loads((tmp_path / "poses.json").read_text())
    assert len(content["images"]) == 83
    assert content["annotations"] == []


@pytest.mark.parametrize(
    "changes", [{}, {"hop": 3}, {"mode": "key"}, {"detect_every": 10}, {"hop": 2, "detect_every": 7}]
)
def test_every_mode_estimates_every_frame_once(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith, changes: Mapping[str, object]
) -> None:
    detect_with(lambda person, index: person == 0)
    annotation = annotate(
        video,
        Outputs(tmp_path / "poses.json"),
        replace(settings, **changes),  # type: ignore[arg-type]
    ).annotation
    [pose] = annotation.poses
    assert pose.frame_indices.tolist() == list(range(83))
    assert not pose.interpolated.any()


class Interrupt:
    """A progress callback that pulls the plug once after some frames, or when a stage begins."""

    def __init__(self, *, after: int | None = None, at_stage: str | None = None) -> None:
        self._after, self._at_stage = after, at_stage

    def __call__(self, stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        if stage == self._at_stage or (stage == "annotate" and self._after is not None and done >= self._after):
            raise KeyboardInterrupt


@pytest.mark.parametrize("changes", [{}, {"hop": 3}, {"mode": "key"}])
@pytest.mark.parametrize("after", [4, 45, 66, 83])
def test_an_interrupted_run_ends_with_the_same_bytes(
    video: Path,
    tmp_path: Path,
    settings: AnnotateSettings,
    detect_with: DetectWith,
    after: int,
    changes: Mapping[str, object],
) -> None:
    detect_with(lambda person, index: person == 0 or index > 20)
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    annotate(video, Outputs(tmp_path / "whole.json"), settings)
    outputs = Outputs(tmp_path / "killed.json")
    with pytest.raises(KeyboardInterrupt):
        annotate(video, outputs, settings, progress=Interrupt(after=after))
    # a place to go on from is written every twelve windows; before the first there is nothing worth keeping
    is_kept = after > 60 or (after == 45 and changes != {})
    assert journal_path(outputs.poses).exists() == is_kept
    assert not outputs.poses.exists()
    result = annotate(video, outputs, settings)
    assert (result.resumed_at_frame is not None) == is_kept
    assert outputs.poses.read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_frames_of_a_video_that_changed_are_not_kept_for_the_old_one(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith, make_video: MakeVideo
) -> None:
    """Put back as it was, the old video would go on from a journal that may hold frames of the new one."""
    detect_with(lambda person, index: True)
    original, times = video.read_bytes(), video.stat()
    other = make_video(tmp_path / "other.mp4", 60, SIZE).read_bytes()

    def replace_it(stage: str, done: int, total: int | None, speeds: Mapping[str, float]) -> None:
        if stage == "annotate" and done > 20:
            video.write_bytes(other)

    outputs = Outputs(tmp_path / "poses.json")
    with pytest.raises(VideoError):
        annotate(video, outputs, settings, progress=replace_it)
    assert not journal_path(outputs.poses).exists() and not outputs.poses.exists()
    video.write_bytes(original)
    os.utime(video, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert annotate(video, outputs, settings).resumed_at_frame is None


def test_a_run_killed_while_drawing_may_replace_its_own_files(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    outputs = Outputs(tmp_path / "poses.json", coco_results=tmp_path / "results.json", overlay=tmp_path / "overlay.mp4")
    with pytest.raises(KeyboardInterrupt):
        annotate(video, outputs, settings, progress=Interrupt(at_stage="overlay"))
    assert (tmp_path / "results.json").exists()
    assert not (tmp_path / "overlay.mp4").exists()
    annotate(video, outputs, settings)
    assert all(path.exists() for path in outputs.paths())
    assert not list(tmp_path.glob(".*"))


def test_what_a_run_killed_at_its_very_beginning_left_behind_is_removed(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    out = tmp_path / "out"
    out.mkdir()
    for name in (".a.overlay.mp4.8e46cf6b.probe", ".a.json.0badcafe.probe", ".a.0badcafe.partial.json"):
        (out / name).touch()  # no frame had been annotated, so there is nothing to go on from
    outputs = Outputs(out / "a.json", overlay=out / "a.overlay.mp4")
    assert annotate(video, outputs, settings).resumed_at_frame is None
    assert {path.name for path in out.iterdir()} == {"a.json", "a.run.json", "a.overlay.mp4"}


def test_other_settings_set_an_old_journal_aside(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    outputs = Outputs(tmp_path / "poses.json")
    with pytest.raises(KeyboardInterrupt):
        annotate(video, outputs, settings, progress=Interrupt(after=70))
    result = annotate(video, outputs, replace(settings, smooth=False))
    assert result.resumed_at_frame is None
    assert any("another run" in note for note in result.notes)


def test_start_and_end_keep_the_numbering_of_the_video(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: person == 0)
    settings = replace(settings, start_s=1.0, end_s=2.0)
    annotation = annotate(video, Outputs(tmp_path / "poses.json"), settings).annotation
    assert annotation.first_frame_index == 25
    assert len(annotation.frames) == 25
    assert annotation.poses[0].frame_indices.tolist() == list(range(25, 50))


def test_an_existing_output_is_refused_before_any_work(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    (tmp_path / "poses.json").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        annotate(video, Outputs(tmp_path / "poses.json"), settings)
    assert (tmp_path / "poses.json").read_text() == "mine"
    annotate(video, Outputs(tmp_path / "poses.json"), settings, overwrite=True)
    assert read_coco_dataset(tmp_path / "poses.json").poses


def test_a_range_beyond_the_end_is_one_clear_error(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    with pytest.raises(VideoError) as caught:
        annotate(video, Outputs(tmp_path / "poses.json"), replace(settings, start_s=60.0))
    assert "clip.mp4" in caught.value.message
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_persons_longest_keeps_one(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: person == 1 or index < 30)
    annotation = annotate(video, Outputs(tmp_path / "p.json"), replace(settings, persons="longest")).annotation
    assert [len(pose) for pose in annotation.poses] == [83]


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="persons 'some'"):
        AnnotateSettings(persons="some")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="end 1.0 s does not lie after start 2.0 s"):
        AnnotateSettings(start_s=2.0, end_s=1.0)


def test_a_folder_of_images_is_a_video_at_the_rate_asked_for(
    video: Path, tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    detect_with(lambda person, index: True)
    folder = tmp_path / "pictures"
    folder.mkdir()
    with open_source(video) as source:
        for frame in source.frames():
            cv2.imwrite(str(folder / f"{frame.index}.png"), frame.image)
    outputs = Outputs(tmp_path / "poses.json", overlay=tmp_path / "overlay.mp4")
    annotation = annotate(folder, outputs, replace(settings, image_fps="25")).annotation
    assert [len(pose) for pose in annotation.poses] == [83, 83]
    assert np.allclose(annotation.frames.time_s, np.arange(83) / 25)
    with open_source(tmp_path / "overlay.mp4") as overlay:
        assert overlay.info.fps == 25
        assert len(list(overlay.frames())) == 83


def test_one_image_is_annotated(tmp_path: Path, settings: AnnotateSettings, detect_with: DetectWith) -> None:
    detect_with(lambda person, index: True)
    cv2.imwrite(str(tmp_path / "still.png"), np.full((64, 96, 3), 90, np.uint8))
    annotation = annotate(tmp_path / "still.png", Outputs(tmp_path / "poses.json"), settings).annotation
    assert [len(pose) for pose in annotation.poses] == [1, 1]


def test_a_resumed_run_still_says_what_is_odd_about_the_video(
    tmp_path: Path, make_video: MakeVideo, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    """Only the second opening of the video was read in a resumed run, and what it had to say was lost."""
    detect_with(lambda person, index: True)
    pts = np.cumsum(np.where(np.arange(83) % 3 == 0, 5400, 3600)).tolist()
    uneven = make_video(tmp_path / "uneven.mp4", 83, SIZE, pts=pts, time_base=Fraction(1, 90_000))
    outputs = Outputs(tmp_path / "poses.json")
    with pytest.raises(KeyboardInterrupt):
        annotate(uneven, outputs, settings, progress=Interrupt(after=66))
    result = annotate(uneven, outputs, settings)
    assert result.resumed_at_frame is not None
    assert any("variable frame rate" in warning for warning in result.warnings)


def test_what_the_overlay_could_not_keep_is_told(
    tmp_path: Path, make_video: MakeVideo, settings: AnnotateSettings, detect_with: DetectWith
) -> None:
    """The renderer's warnings were dropped: sound that MP4 cannot hold vanished in silence."""
    detect_with(lambda person, index: True)
    noisy = make_video(tmp_path / "noisy.avi", 20, SIZE, codec="mpeg4", audio_codec="adpcm_ms")
    result = annotate(noisy, Outputs(tmp_path / "poses.json", overlay=tmp_path / "overlay.mp4"), settings)
    assert any("its sound (adpcm_ms)" in warning for warning in result.warnings)
