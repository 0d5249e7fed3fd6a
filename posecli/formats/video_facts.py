"""What a poses file says about its video, and back; exact fractions travel as "num/den"."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from posecli.formats.document import MAX_NUMBER, Node
from posecli.records import VideoInfo


def encode_video(video: VideoInfo) -> dict[str, Any]:
    """The JSON object of a `VideoInfo`."""
    return {
        "path": str(video.path),
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
        path=Path(node.string("path")),
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
