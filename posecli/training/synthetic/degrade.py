"""What cameras and codecs do to pictures; one camera a window, so all frames suffer alike but for the noise."""

from __future__ import annotations

import io
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import av
import cv2
import numpy as np

from posecli.records import FloatArray, ImageArray

_NOISE_HW = (768, 1152)
_GRAINS_PX = (0.0, 0.7, 1.2)


@dataclass(frozen=True, slots=True)
class Degradation:
    """A camera and a codec.

    Attributes:
        shrink: The picture is scaled by this and back.
        blur_px: Sigma of a soft lens.
        streak: (2,) px, motion of the whole picture during the exposure.
        gain: (3,) factors of the channels.
        bias: Added, of 255.
        saturation: 0 grey, 1 as it is.
        gamma: Exponent.
        noise: Standard deviation, of 255.
        grain_px: Size of the grain.
        jpeg: Quality, 100 leaves it out.
        h264_crf: Quality of video, 0 leaves it out.
    """

    shrink: float
    blur_px: float
    streak: FloatArray
    gain: FloatArray
    bias: float
    saturation: float
    gamma: float
    noise: float
    grain_px: float
    jpeg: int
    h264_crf: int


def random_degradation(
    rng: np.random.Generator,
    *,
    person_px: float,
    brightness: float,
    dark: float = 0.1,
    soft: float = 0.25,
    allow_video: bool = True,
) -> Degradation:
    """Mostly mild; some in bad light, some blurred.

    Args:
        rng: All randomness comes from here.
        person_px: Longer side of the person: what is small is blurred less, so that something is left to see.
        brightness: Mean of the picture, 0 to 255: what is dark is not darkened to black.
        dark: How often the light is bad, 0 to 1.
        soft: How often the lens is soft.
        allow_video: Whether the codec may be H.264.
    """
    room = float(np.clip(person_px / 150, 0.25, 1.0))
    is_dark = rng.random() < dark
    gain = max(rng.uniform(0.15, 0.5) if is_dark else rng.normal(1, 0.1), min(20 / max(brightness, 1.0), 3.0))
    streak_px = rng.uniform(2, 9) * room if rng.random() < 0.12 else 0.0
    angle = rng.uniform(0, np.pi)
    is_video = allow_video and rng.random() < 0.3
    shrink = max(rng.uniform(0.35, 1.0), 50 / person_px) if rng.random() < 0.25 else 1.0
    noise = rng.uniform(3, 11) if is_dark else abs(float(rng.normal(0, 3)))
    return Degradation(
        shrink=min(shrink, 1.0),
        blur_px=rng.uniform(0.4, 1.6) * room if rng.random() < soft else 0.0,
        streak=np.array([np.cos(angle), np.sin(angle)], np.float32) * np.float32(streak_px),
        gain=(gain * np.clip(rng.normal(1, 0.06, 3), 0.8, 1.2)).astype(np.float32),
        bias=float(rng.normal(0, 6)) if gain > 0.6 else abs(float(rng.normal(0, 6))),
        saturation=float(rng.uniform(0.4, 1.3)) if rng.random() < 0.94 else 0.0,
        gamma=float(np.exp(rng.normal(0, 0.18))) if not is_dark else 1.0,
        noise=float(noise),
        grain_px=float(rng.choice(_GRAINS_PX)),
        jpeg=100 if is_video else int(rng.integers(40, 96)),
        h264_crf=int(rng.integers(22, 36)) if is_video else 0,
    )


def degrade(frames: list[ImageArray], how: Degradation, rng: np.random.Generator) -> list[ImageArray]:
    """Apply to the frames (H, W, 3) of a window."""
    bank = _noise_bank(how.grain_px)
    done = [_expose(_soften(frame, how), how, _cut(bank, frame.shape, rng)) for frame in frames]
    if how.h264_crf:
        return through_h264(done, crf=how.h264_crf)
    return [through_jpeg(frame, how.jpeg) for frame in done] if how.jpeg < 100 else done


def _soften(image: ImageArray, how: Degradation) -> ImageArray:
    height, width = image.shape[:2]
    length = int(np.ceil(np.linalg.norm(how.streak)))
    if length > 1:
        side = length | 1
        kernel = np.zeros((side, side), np.float32)
        middle = np.array([side // 2, side // 2])
        ends = [tuple(int(v) for v in np.round(middle + s * how.streak / 2)) for s in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        image = np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)
    if how.blur_px:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), how.blur_px), np.uint8)
    if how.shrink < 1:
        small = (max(int(width * how.shrink), 8), max(int(height * how.shrink), 8))
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    return image


def _expose(image: ImageArray, how: Degradation, noise: FloatArray) -> ImageArray:
    grey = np.array([0.299, 0.587, 0.114])
    mix = np.eye(3) * how.saturation + (1 - how.saturation) * grey
    mixed = cv2.transform(image, mix) if how.saturation != 1 else image
    levels = np.clip((np.arange(256)[:, None] * how.gain + how.bias) / 255, 0, 1) ** how.gamma * 255
    exposed = cv2.LUT(mixed, levels.astype(np.float32)[None])
    return np.clip(exposed + noise * np.float32(how.noise), 0, 255).astype(np.uint8)


@cache
def _noise_bank(grain_px: float) -> FloatArray:
    """The same noise for everybody, of standard deviation 1: drawing it anew costs more than rendering."""
    bank = np.random.default_rng(int(grain_px * 10)).normal(0, 1, (*_NOISE_HW, 3)).astype(np.float32)
    if grain_px:
        bank = np.asarray(cv2.GaussianBlur(bank, (0, 0), grain_px), np.float32)
    return np.asarray(bank / bank.std(), np.float32)


def _cut(bank: FloatArray, shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """A piece of noise; pictures larger than the bank see it repeated."""
    height, width = shape[:2]
    repeats = (-(-height // len(bank)), -(-width // bank.shape[1]), 1)
    if repeats != (1, 1, 1):
        bank = np.tile(bank, repeats)
    y, x = rng.integers(0, [len(bank) - height + 1, bank.shape[1] - width + 1])
    return bank[y : y + height, x : x + width]


def through_jpeg(image: ImageArray, quality: int) -> ImageArray:
    """Encode and decode."""
    return decode_jpeg(encode_jpeg(image, quality))


def encode_jpeg(image: ImageArray, quality: int) -> ImageArray:
    """(H, W, 3) RGB -> (n,) bytes."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return np.asarray(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], np.uint8).reshape(-1)


def decode_jpeg(data: ImageArray) -> ImageArray:
    """(n,) bytes -> (H, W, 3) RGB.

    Raises:
        ValueError: The bytes are no JPEG.
    """
    image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("not a JPEG picture")
    return np.asarray(image, np.uint8)


def through_h264(frames: list[ImageArray], *, crf: int) -> list[ImageArray]:
    """Encode as video and decode; odd sides are kept."""
    height, width = frames[0].shape[:2]
    # Without macroblock trees: with them the same pictures do not always give the same bytes.
    options = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
    stream_file = io.BytesIO()
    with av.open(stream_file, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=Fraction(30), options=options)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for image in frames:
            padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            # Colours by OpenCV: what ffmpeg's scaler gives depends on where in memory a picture lies.
            planes = cv2.cvtColor(padded, cv2.COLOR_RGB2YUV_I420)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(planes, np.uint8), "yuv420p")))
        container.mux(stream.encode(None))
    stream_file.seek(0)
    with av.open(stream_file, "r") as source:
        planes_back = [frame.to_ndarray(format="yuv420p") for frame in source.decode(video=0)]
    decoded = [cv2.cvtColor(planes, cv2.COLOR_YUV2RGB_I420) for planes in planes_back]
    return [np.ascontiguousarray(image[:height, :width], np.uint8) for image in decoded]
