"""What files, folders and patterns stand for."""

from __future__ import annotations

import pytest

from posecli.errors import VideoError
from posecli.video.discover import discover


@pytest.fixture
def tree(tmp_path):
    for name in (
        *("clip10.mp4", "clip2.MOV", "notes.txt", ".clip3.partial.mp4", "._clip2.MOV", "poster.jpg"),
        *("day2/a.mkv", "day2/deep/b.webm", "frames/1.png", "frames/2.png", "empty/readme.md", ".cache/c.mp4"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def _names(tree, found):
    return [path.relative_to(tree).as_posix() for path in found]


def test_a_file_stands_for_itself_whatever_its_name(tree):
    assert discover([tree / "notes.txt"]) == [tree / "notes.txt"]
    assert discover([str(tree / "clip10.mp4")]) == [tree / "clip10.mp4"]


def test_a_folder_stands_for_its_videos_in_natural_order(tree):
    assert _names(tree, discover([tree])) == ["clip2.MOV", "clip10.mp4"]


def test_subfolders_only_when_asked(tree):
    assert _names(tree, discover([tree], recursive=True)) == [
        *("clip2.MOV", "clip10.mp4", "day2/a.mkv", "day2/deep/b.webm", "frames"),
    ]


def test_a_folder_of_images_is_one_input(tree):
    assert _names(tree, discover([tree / "frames"])) == ["frames"]


def test_patterns(tree):
    assert _names(tree, discover([tree / "*.mp4"])) == ["clip10.mp4"]
    assert _names(tree, discover([f"{tree}/**/*.*"])) == [
        *("clip2.MOV", "clip10.mp4", "day2/a.mkv", "day2/deep/b.webm", "frames/1.png", "frames/2.png", "poster.jpg"),
    ]
    assert _names(tree, discover([tree / "d*"])) == ["day2/a.mkv"]


def test_a_name_with_brackets_is_a_file_first(tree):
    odd = tree / "take[1].mp4"
    odd.write_bytes(b"x")
    assert discover([odd]) == [odd]


def test_what_is_named_twice_comes_once_and_order_is_kept(tree):
    found = discover([tree / "day2" / "a.mkv", tree, tree / "clip10.mp4", tree / "day2" / ".." / "clip2.MOV"])
    assert _names(tree, found) == ["day2/a.mkv", "clip2.MOV", "clip10.mp4"]


def test_nothing_named_is_nothing_found():
    assert discover([]) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.mp4", "no such file or folder"),
        ("empty", "folder without videos or images"),
        ("*.avi", "matches no video"),
    ],
)
def test_what_stands_for_nothing_is_refused(tree, name, message):
    with pytest.raises(VideoError, match=message) as error:
        discover([tree / name])
    assert name in error.value.message


def test_a_folder_of_folders_says_how(tree):
    (tree / "outer" / "inner").mkdir(parents=True)
    (tree / "outer" / "inner" / "a.mp4").write_bytes(b"x")
    with pytest.raises(VideoError, match="--recursive"):
        discover([tree / "outer"])
    assert len(discover([tree / "outer"], recursive=True)) == 1


@pytest.fixture
def looped(tree):
    """Two links up in each folder: 2^40 ways before the system says stop."""
    for name in ("up", "around"):
        (tree / "day2" / "deep" / name).symlink_to(tree)
        (tree / "day2" / name).symlink_to("..")
    (tree / "self").symlink_to("self")
    (tree / "twin").symlink_to("day2")
    return tree


def test_links_in_a_circle_are_followed_once(looped):
    plain = ["clip2.MOV", "clip10.mp4", "day2/a.mkv", "day2/deep/b.webm", "frames"]
    assert _names(looped, discover([looped], recursive=True)) == plain
    assert _names(looped, discover([looped / "**" / "*.m*"])) == ["clip10.mp4", "day2/a.mkv"]
    assert _names(looped, discover([looped / "**"])) == [
        *("clip2.MOV", "clip10.mp4", "day2/a.mkv", "day2/deep/b.webm"),
        *("frames", "frames/1.png", "frames/2.png", "poster.jpg"),
    ]


def test_patterns_of_any_depth(tree, monkeypatch):
    assert _names(tree, discover([tree / "d*" / "**" / "*.webm"])) == ["day2/deep/b.webm"]
    assert _names(tree, discover([tree / "**" / "deep" / "**" / "*"])) == ["day2/deep/b.webm"]
    assert _names(tree, discover([tree / "**" / "**" / "day2" / "*"])) == ["day2/a.mkv", "day2/deep/b.webm"]
    monkeypatch.chdir(tree)
    assert [path.as_posix() for path in discover(["**/*.mkv"])] == ["day2/a.mkv"]
    (tree / "d[1]" / "*").mkdir(parents=True)
    (tree / "d[1]" / "*" / "x.mkv").write_bytes(b"x")
    assert [path.as_posix() for path in discover(["**/x.mkv"])] == ["d[1]/*/x.mkv"]


@pytest.mark.parametrize("name", ["x" * 300 + ".mp4", "a/" * 3000 + "x.mp4"])
def test_names_beyond_the_system_are_refused(tree, name):
    with pytest.raises(VideoError, match="File name too long"):
        discover([tree / name])
