"""What a poses file says about its video comes back as it was, whatever the file is called."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from posecli.errors import FormatError
from posecli.formats.document import Node
from posecli.formats.video_facts import decode_video, encode_video
from posecli.json_bytes import json_bytes
from posecli.records import VideoInfo

VIDEO = VideoInfo(
    Path("x.mp4"), 96, 64, Fraction(25), 5, 0.2, 0, Fraction(1, 12800), "h264", "yuv420p", "bt709", False, True
)


@pytest.mark.parametrize("name", ["x.mp4", "a\nb 🎥.mp4", "../größe.mp4", "a\udcff\udcc3.mp4", "\\xff.mp4"])
def test_any_path_comes_back(name: str) -> None:
    video = replace(VIDEO, path=Path(name))
    facts = encode_video(video)
    json_bytes(facts)
    assert ("path_hex" in facts) == ("\udcff" in name)
    assert decode_video(Node(Path("p.json"), "video", facts)) == video


@pytest.mark.parametrize("bad", ["xyz", "0", 5, "é"])
def test_a_path_that_is_none_is_refused(bad: object) -> None:
    facts = {**encode_video(VIDEO), "path_hex": bad}
    with pytest.raises(FormatError, match="path_hex"):
        decode_video(Node(Path("p.json"), "video", facts))
