"""Names of files that are no text are written all the same; everything else as orjson has it."""

from __future__ import annotations

import orjson
import pytest

from posecli.json_bytes import json_bytes, text_of

NAME = "a\udcff\udcc3b.mp4"


def test_bytes_that_are_no_text_are_escaped_wherever_they_stand() -> None:
    value = {"path": NAME, "more": [(NAME, 1.5)], NAME: None}
    text = "a\\xff\\xc3b.mp4"
    assert orjson.loads(json_bytes(value)) == {"path": text, "more": [[text, 1.5]], text: None}
    assert text_of(NAME) == text


def test_all_else_is_as_ever() -> None:
    value = {"é": ["🎥", "\n", 1, 0.1, None, True]}
    assert json_bytes(value, option=orjson.OPT_INDENT_2) == orjson.dumps(value, option=orjson.OPT_INDENT_2)
    assert text_of("größe 🎥\n.mp4") == "größe 🎥\n.mp4"


@pytest.mark.parametrize("value", [object(), 2**70, {1: 2}])
def test_what_json_cannot_say_is_still_refused(value: object) -> None:
    with pytest.raises(TypeError):
        json_bytes(value)
