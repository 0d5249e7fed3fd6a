"""What a poses file says about its video, and back; exact fractions travel as "num/den"."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

from posecli.formats.document import MAX_NUMBER, Node
from posecli.json_bytes import text_of
from posecli.records import VideoInfo


def encode_video(video: VideoInfo) -> dict[str, Any]:
    """The JSON object of a `VideoInfo`; ``path_hex`` only where the path is no text."""
    path = str(video.path)
    bare = {} if text_of(path) == path else {"path_hex": os.fsencode(path).hex()}
    return {
        "path": text_of(path),
        **bare,
        "width_px": video.width_px,
        "height_px": video.height_px,
        "fps": None if video.fps is None else _encode_fraction(video.fps),
        "num_frames_from_header": video.num_frames_from_header,
        "duration_s": video.duration_s,
        "rotation_deg": video.rotation_deg,
        "time_base": _encode_fraction(video.time_base),
        "codec": video.codec,
        "pixel_format": video.pixel_format,
        "colour": video.colour,
        "is_hdr": video.is_hdr,
        "has_audio": video.has_audio,
    }


def decode_video(node: Node) -> VideoInfo:
    """The `VideoInfo` of a JSON object; inverse of `encode_video`.

    Raises:
        FormatError: A key is missing or holds something else.
    """
    return VideoInfo(
        path=_decode_path(node),
        width_px=node.size("width_px"),
        height_px=node.size("height_px"),
        fps=_decode_fraction(node, "fps") if node.has("fps") else None,
        num_frames_from_header=node.integer("num_frames_from_header") if node.has("num_frames_from_header") else None,
        duration_s=node.number("duration_s") if node.has("duration_s") else None,
        rotation_deg=node.integer("rotation_deg"),
        time_base=_decode_fraction(node, "time_base"),
        codec=node.string("codec"),
        pixel_format=node.string("pixel_format"),
        colour=node.string("colour"),
        is_hdr=node.flag("is_hdr"),
        has_audio=node.flag("has_audio"),
    )


def _decode_path(node: Node) -> Path:
    if not node.has("path_hex"):
        return Path(node.string("path"))
    try:
        return Path(os.fsdecode(bytes.fromhex(node.string("path_hex"))))
    except ValueError:
        raise node.child("path_hex").error("this is not a path in hexadecimal digits") from None


def _encode_fraction(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _decode_fraction(node: Node, key: str) -> Fraction:
    text = node.string(key)
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise node.child(key).error(f'"{text}" is not a fraction like "30000/1001"') from None
    if not 0 < value <= MAX_NUMBER:
        raise node.child(key).error(f'"{text}" is not a positive fraction')
    return value
