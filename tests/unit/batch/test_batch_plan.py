"""Which videos are meant, and where their results go: never outside, never twice into one file."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from posecli.batch.job import printable
from posecli.batch.plan import plan_jobs
from posecli.batch.request import BatchRequest, Shard, num_cores
from posecli.errors import ConfigError, VideoError
from posecli.pipeline.settings import AnnotateSettings

Touch = Callable[..., list[Path]]


@pytest.fixture
def touch(tmp_path: Path) -> Touch:
    def make(*names: str) -> list[Path]:
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return paths

    return make


def request(tmp_path: Path, *inputs: object, **more: object) -> BatchRequest:
    out_dir = more.pop("out_dir", tmp_path / "poses")
    return BatchRequest(tuple(map(str, inputs)), out_dir, AnnotateSettings(), **more)  # type: ignore[arg-type]


def names(request: BatchRequest) -> list[str]:
    return [job.name for job in plan_jobs(request)]


def test_the_tree_of_a_folder_is_mirrored_in_natural_order(tmp_path: Path, touch: Touch) -> None:
    touch("v/clip10.mp4", "v/clip2.mp4", "v/a/b/deep.MOV", "v/notes.txt", "v/.hidden.mp4", "v/a/._twin.mp4")
    chosen = request(tmp_path, tmp_path / "v", overlay=True, sheet=True)
    assert names(chosen) == ["a/b/deep.poses.json", "clip2.poses.json", "clip10.poses.json"]
    deep = plan_jobs(chosen)[0]
    assert deep.video == tmp_path / "v" / "a" / "b" / "deep.MOV"
    folder = tmp_path / "poses" / "a" / "b"
    assert deep.files.paths() == [
        folder / name for name in ("deep.overlay.mp4", "deep.sheet.png", "deep.poses.run.json", "deep.poses.json")
    ]
    assert names(replace(chosen, is_recursive=False)) == ["clip2.poses.json", "clip10.poses.json"]


def test_videos_that_differ_in_the_suffix_keep_it(tmp_path: Path, touch: Touch) -> None:
    touch("v/a.mp4", "v/a.mov", "v/A.avi", "v/b.mp4")
    assert names(request(tmp_path, tmp_path / "v")) == [
        "A.avi.poses.json",
        "a.mov.poses.json",
        "a.mp4.poses.json",
        "b.poses.json",
    ]


def test_patterns_are_mirrored_from_their_fixed_part(tmp_path: Path, touch: Touch) -> None:
    touch("v/s1/cam/x.mp4", "v/s2/cam/x.mp4", "v/s2/cam/y.png")
    assert names(request(tmp_path, tmp_path / "v" / "s*" / "cam" / "*.mp4")) == [
        "s1/cam/x.poses.json",
        "s2/cam/x.poses.json",
    ]
    with pytest.raises(VideoError, match="matches no video"):
        names(request(tmp_path, tmp_path / "v" / "*.mkv"))


def test_lists_name_videos_and_say_which_are_missing(
    tmp_path: Path, touch: Touch, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = touch("v/s1/x.mp4", "v/s2/x.mp4")
    touch("rel/y.mp4")
    listed = tmp_path / "list.txt"
    listed.write_text(f"# today\n{first}\n\n{second}\nrel/y.mp4\nrel/gone.mp4\n{first}\n", encoding="utf-8")
    monkeypatch.chdir("/")
    jobs = plan_jobs(request(tmp_path, listed))
    assert [job.name for job in jobs] == [f"{stem}.poses.json" for stem in ("rel/gone", "rel/y", "s1/x", "s2/x")]
    problems = {job.name: job.problem for job in jobs if job.problem is not None}
    assert list(problems) == ["rel/gone.poses.json"]
    gone = problems["rel/gone.poses.json"]
    assert (gone.message, gone.exit_code) == ("rel/gone.mp4: no such file or folder", 5)
    assert "list.txt" in gone.hint


def test_nothing_is_written_above_the_output_folder(
    tmp_path: Path, touch: Touch, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch("v/in/x.mp4", "v/y.mp4", "z.mp4")
    monkeypatch.chdir(tmp_path / "v" / "in")
    listed = tmp_path / "list.txt"
    listed.write_text("../y.mp4\nx.mp4\n../../v/../z.mp4\n")
    for inputs in (["../../v/*/../y.mp4"], ["../y.mp4", "../../z.mp4"], [str(listed)]):
        jobs = plan_jobs(request(tmp_path, *inputs))
        assert jobs
        for job in jobs:
            for path in job.files.paths():
                assert tmp_path / "poses" in path.resolve().parents, path


def test_images_in_a_folder_are_one_video(tmp_path: Path, touch: Touch) -> None:
    touch("v/seq.1/1.png", "v/seq.1/2.png", "v/x.mp4")
    assert names(request(tmp_path, tmp_path / "v")) == ["seq.1.poses.json", "x.poses.json"]
    assert names(request(tmp_path, tmp_path / "v" / "seq.1")) == ["seq.1.poses.json"]


def test_what_a_batch_has_written_is_no_input(tmp_path: Path, touch: Touch) -> None:
    touch("v/x.mp4", "v/seq/1.png")
    inside = request(tmp_path, tmp_path / "v", out_dir=tmp_path / "v" / "poses")
    touch("v/poses/x.overlay.mp4", "v/poses/sub/x.overlay.mp4", "v/poses/x.sheet.png")
    assert names(inside) == ["seq.poses.json", "x.poses.json"]
    same = request(tmp_path, tmp_path / "same", out_dir=tmp_path / "same")
    touch("same/x.mp4", "same/x.overlay.mp4", "same/other.overlay.mp4", "same/sub/s.mp4", "same/sub/s.overlay.mp4")
    assert names(same) == ["other.overlay.poses.json", "sub/s.poses.json", "x.poses.json"]
    images = request(tmp_path, tmp_path / "images", out_dir=tmp_path / "images")
    touch("images/seq/1.png", "images/seq.sheet.png")
    assert names(images) == ["seq.poses.json"]


def test_two_videos_for_one_file_are_refused(tmp_path: Path, touch: Touch) -> None:
    touch("one/x.mp4", "two/x.mp4")
    with pytest.raises(ConfigError, match=r"one/x.mp4 and .*two/x.mp4 would both write"):
        names(request(tmp_path, tmp_path / "one", tmp_path / "two"))
    (tmp_path / "three").symlink_to(tmp_path / "one")
    assert names(request(tmp_path, tmp_path / "one", tmp_path / "three")) == ["x.poses.json"]


def test_long_names_leave_room_for_our_endings(tmp_path: Path, touch: Touch) -> None:
    touch("v/" + "é" * 120 + ".mp4", "v/" + "é" * 119 + "a.mp4")
    found = names(request(tmp_path, tmp_path / "v"))
    assert len(set(found)) == 2
    for name in found:
        longest = f".{name.removesuffix('.json')}.run.01234567.partial.json"
        (tmp_path / longest).touch()  # the file system agrees


def test_missing_inputs_are_errors(tmp_path: Path, touch: Touch) -> None:
    with pytest.raises(VideoError, match="no such file"):
        names(request(tmp_path, tmp_path / "nowhere"))
    (empty,) = touch("empty.txt")
    empty.write_text("# nothing\n")
    with pytest.raises(VideoError, match="names no video"):
        names(request(tmp_path, empty))


def test_big_and_small_letters_are_marked(tmp_path: Path, touch: Touch) -> None:
    touch("v/A.mp4", "v/a.mp4", "v/a.mov", "v/Day/x.mp4", "v/day/x.mp4", "v/day/y.mp4")
    found = names(request(tmp_path, tmp_path / "v"))
    plain = [re.sub(r"-[0-9a-f]{8}", "-#", name) for name in found]
    assert sorted(plain) == [
        *("A.mp4-#.poses.json", "Day/x.mp4-#.poses.json", "a.mov.poses.json", "a.mp4-#.poses.json"),
        *("day/x.mp4-#.poses.json", "day/y.poses.json"),
    ]
    assert len({name.casefold() for name in found}) == 6
    assert found == names(request(tmp_path, tmp_path / "v"))


def test_links_in_a_circle_and_odd_paths_in_a_list_are_told(tmp_path: Path, touch: Touch) -> None:
    touch("v/x.mp4")
    (tmp_path / "v" / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "list.txt").write_bytes(b"v/loop.mp4\n//no//such\nv/a\0b.mp4\nv/x.mp4\n")
    jobs = plan_jobs(request(tmp_path, tmp_path / "list.txt"))
    assert [job.video.name for job in jobs if job.problem is None] == ["x.mp4"]
    assert len(jobs) == 4
    jobs = plan_jobs(request(tmp_path, tmp_path / "v"))
    assert [job.video.name for job in jobs if job.problem is None] == ["x.mp4"]
    assert len(jobs) == 2


@pytest.mark.parametrize("named", ["v", "v/*.mp4"])
def test_what_has_a_videos_name_and_is_no_file_is_told_and_not_opened(tmp_path: Path, touch: Touch, named: str) -> None:
    touch("v/x.mp4")
    (tmp_path / "v" / "gone.mp4").symlink_to("disk/gone.mp4")
    os.mkfifo(tmp_path / "v" / "pipe.mp4")  # reading it would wait for ever
    jobs = {job.video.name: job.problem for job in plan_jobs(request(tmp_path, tmp_path / named))}
    assert jobs.keys() == {"gone.mp4", "pipe.mp4", "x.mp4"} and jobs["x.mp4"] is None
    assert jobs["gone.mp4"] is not None and "a link to disk/gone.mp4" in jobs["gone.mp4"].message
    assert jobs["pipe.mp4"] is not None and "a pipe" in jobs["pipe.mp4"].message


def test_a_tilde_that_is_nobodys_home_is_a_name(tmp_path: Path, touch: Touch, monkeypatch: pytest.MonkeyPatch) -> None:
    touch("~no.such.user.mp4", "v/~no.such.user/x.mp4")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("~no.such.user.mp4\n")
    assert names(request(tmp_path, "~no.such.user.mp4")) == ["~no.such.user.poses.json"]
    assert names(request(tmp_path, "list.txt")) == ["~no.such.user.poses.json"]
    monkeypatch.chdir(tmp_path / "v")
    assert names(request(tmp_path, "~no.such.user")) == ["x.poses.json"]


def test_a_name_beyond_the_system_costs_no_other_video(tmp_path: Path, touch: Touch) -> None:
    touch("v/x.mp4")
    long = "x" * 300 + ".mp4"
    with pytest.raises(VideoError, match="too long"):
        names(request(tmp_path, tmp_path / long))
    (tmp_path / "list.txt").write_text(f"{long}\nv/x.mp4\n/{'a/' * 3000}y.mp4\n")
    jobs = plan_jobs(request(tmp_path, tmp_path / "list.txt"))
    assert [job.problem is None for job in jobs].count(True) == 1
    assert len(jobs) == 3


def test_a_list_is_read_by_lines_only(tmp_path: Path, touch: Touch) -> None:
    odd = ["a\u2028b.mp4", "c\x85d.mp4", "e\x0cf.mp4", "g\x1ch.mp4"]
    touch(*(f"v/{name}" for name in odd))
    (tmp_path / "list.txt").write_bytes("\r\n".join(f"v/{name}" for name in odd).encode())
    jobs = plan_jobs(request(tmp_path, tmp_path / "list.txt"))
    assert {job.video.name for job in jobs} == set(odd)
    assert all(job.problem is None for job in jobs)


def test_shards_share_out_everything_once(tmp_path: Path, touch: Touch) -> None:
    touch(*(f"v/s{k % 7}/clip{k}.mp4" for k in range(60)))
    whole = request(tmp_path, tmp_path / "v")
    parts = [names(replace(whole, shard=Shard(index, 4))) for index in (1, 2, 3, 4)]
    assert Counter(name for part in parts for name in part) == Counter(names(whole))
    assert min(map(len, parts)) > 5
    (tmp_path / "v" / "new.mp4").write_bytes(b"x")  # the others stay where they are
    assert set(parts[1]) <= set(names(replace(whole, shard=Shard(2, 4))))


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b"])
def test_shards_that_make_no_sense(text: str) -> None:
    with pytest.raises(ConfigError, match="not a part of a whole"):
        Shard.parse(text)


def test_workers_and_threads_fit_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = request(tmp_path, "v")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert whole.num_workers(1) == 1
    assert 1 <= whole.num_workers(1000) <= max(1, num_cores() // 2)
    assert replace(whole, workers=5).num_workers(3) == 3
    assert replace(whole, workers=5).num_threads(5) == max(1, num_cores() // 5)
    assert replace(whole, threads=3).num_threads(5) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert whole.num_threads(2) == 3
    on_gpu = replace(whole, settings=replace(whole.settings, device="cuda"))
    assert on_gpu.num_workers(1000) == 1


def test_settings_and_weights_decide_the_hash(tmp_path: Path, tiny_weights: Path) -> None:
    plain = request(tmp_path, "v")
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(tiny_weights.read_bytes())
    tiny = replace(plain, settings=replace(plain.settings, weights=str(copy)))
    before = tiny.settings_hash
    assert plain.settings_hash == request(tmp_path, "w", limit=3, workers=2).settings_hash
    assert before != plain.settings_hash
    assert replace(plain, settings=replace(plain.settings, mirror=True)).settings_hash != plain.settings_hash
    assert replace(plain, overlay_style="other").settings_hash == plain.settings_hash  # nobody draws
    copy.write_bytes(tiny_weights.read_bytes() + b" ")
    assert replace(tiny).settings_hash != before


def test_requests_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="boxes"):
        BatchRequest(("v",), tmp_path, AnnotateSettings(detector="boxes"))
    with pytest.raises(ConfigError, match="timeout"):
        request(tmp_path, "v", timeout_s=0.0)
    with pytest.raises(ConfigError, match="workers"):
        request(tmp_path, "v", workers=0)


def test_names_for_people_stay_in_their_line() -> None:
    assert printable(Path("a\nb\x1b[31m\udcff.mp4")) == "a\\nb\\x1b[31m\\xff.mp4"
    assert printable("größe 🎥.mp4") == "größe 🎥.mp4"
