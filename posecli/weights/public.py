"""Public weights of other software that posecli can use or import.

Checksums and sizes are those that the files' hosts or several independent users published; where we found none, none stands here,
and the first fetch records it. Accuracies are their authors' claims, not measured by us.
"""

from __future__ import annotations

from posecli.weights.entry import WeightsEntry

_HUGGING_FACE = "https://huggingface.co"
_POSEMAMBA = f"{_HUGGING_FACE}/nankingjings/PoseMamba-weights/resolve/main"
_ULTRALYTICS = "https://github.com/ultralytics/assets/releases/download"
_MB = 1_000_000

_VITPOSE = (
    WeightsEntry(
        name="vitpose-b",
        kind="encoder",
        file="vitpose-b.pth",
        sha256="2e849e1f1dbb5b87191eda7171f1b16468d5d082a7380e93e94b7ce76a061679",
        num_bytes=360_038_314,
        licence="Apache-2.0",
        description="ViTPose-B, classic decoder, the authors' checkpoint: the frozen encoder of glsmamba-b. Import it first.",
        urls=(
            f"{_HUGGING_FACE}/nielsr/vitpose-original-checkpoints/resolve/main/vitpose-b.pth",
            f"{_HUGGING_FACE}/shauray/ViTPose/resolve/main/vitpose-b.pth",
        ),
        origin="vitpose",
        config="glsmamba-b",
        accuracy="COCO val 75.8 AP (authors)",
    ),
    WeightsEntry(
        name="vitpose-b-hf",
        kind="encoder",
        file="vitpose-b-hf.safetensors",
        sha256=None,
        num_bytes=None,
        licence="Apache-2.0",
        description="The same in the layout of Hugging Face's transformers (usyd-community/vitpose-base). Import it first.",
        urls=(f"{_HUGGING_FACE}/usyd-community/vitpose-base/resolve/main/model.safetensors",),
        max_bytes=400 * _MB,
        origin="vitpose",
        config="glsmamba-b",
        accuracy="COCO val 75.8 AP (authors)",
    ),
    WeightsEntry(
        name="vitpose-h",
        kind="encoder",
        file="vitpose-h.pth",
        sha256="1f4354175b4fee237e15ca5938f89ab0efc83d0fbf3e3d93cbadeaac4e47c4e3",
        num_bytes=None,
        licence="Apache-2.0",
        description="ViTPose-H, classic decoder, as easy_ViTPose redistributes it: the frozen encoder of glsmamba-h. Import it first.",
        urls=(f"{_HUGGING_FACE}/JunkyByte/easy_ViTPose/resolve/main/torch/coco/vitpose-h-coco.pth",),
        max_bytes=2_700 * _MB,
        origin="vitpose",
        config="glsmamba-h",
        accuracy="COCO val 79.1 AP (authors, of their own file)",
    ),
)


def _posemamba(size: str, mpjpe_mm: float, max_mb: int) -> WeightsEntry:
    return WeightsEntry(
        name=f"posemamba-{size.lower()}",
        kind="lifting",
        file=f"PoseMamba_{size}.bin",
        sha256=None,
        num_bytes=None,
        licence="Apache-2.0",
        description=f"PoseMamba-{size}, the authors' checkpoint, trained on Human3.6M (academic use only). Import it first.",
        skeleton="h36m17",
        urls=(f"{_POSEMAMBA}/PoseMamba_{size}.bin",),
        max_bytes=max_mb * _MB,
        origin="posemamba",
        config=f"posemamba-{size.lower()}",
        accuracy=f"Human3.6M {mpjpe_mm} mm MPJPE, detected 2D points (authors)",
    )


def _yolo(name: str, release: str, mean_ap: float, num_bytes: int, sha256: str) -> WeightsEntry:
    return WeightsEntry(
        name=name.lower(),
        kind="detector",
        file=f"{name.lower()}.pt",
        sha256=sha256,
        num_bytes=num_bytes,
        licence="AGPL-3.0",
        description=f"{name} of ultralytics, for --detector yolo (extra posecli[yolo]).",
        urls=(f"{_ULTRALYTICS}/{release}/{name.lower()}.pt",),
        origin="ultralytics",
        accuracy=f"COCO val {mean_ap} AP over 80 classes (authors)",
    )


# Sizes cap what PoseMamba's authors may have put in: the tensors, and their optimiser's two more copies.
PUBLIC: tuple[WeightsEntry, ...] = (
    *_VITPOSE,
    _posemamba("S", 41.8, 50),
    _posemamba("B", 40.8, 150),
    _posemamba("L", 38.1, 300),
    _yolo("YOLO11n", "v8.3.0", 39.5, 5_613_764, "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1"),
    _yolo("YOLO11s", "v8.3.0", 47.0, 19_313_732, "85a76fe86dd8afe384648546b56a7a78580c7cb7b404fc595f97969322d502d5"),
    _yolo("YOLO11m", "v8.3.0", 51.5, 40_684_120, "d5ffc1a674953a08e11a8d21e022781b1b23a19b730afc309290bd9fb5305b95"),
    _yolo("YOLO11l", "v8.3.0", 53.4, 51_387_343, "9ebd0e09d59811db4b1d61e2bc6730649608b1ac47f8dd01e2da6bca7c20023f"),
    _yolo("YOLO11x", "v8.3.0", 54.7, 114_636_239, "7bc158aa95c0ebfdd87f70f01653c1131b93e92522dbe15c228bcd742e773a24"),
    _yolo("YOLO26n", "v8.4.0", 40.9, 5_544_453, "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef"),
    _yolo("YOLO26s", "v8.4.0", 48.6, 20_422_725, "646f8bc3fe0a656803d95c294f7852321748cb29d13466a1af8862e2db384a1b"),
    _yolo("YOLO26m", "v8.4.0", 53.1, 44_255_705, "401cea9ab23ad19246ff7744859816bc599f350e93c9dd30367b6f0a0745d0b7"),
    _yolo("YOLO26l", "v8.4.0", 55.0, 53_211_173, "9fe3c544f2b19bebad7ea41e76d7ad3d88b7c2f10d11d24430c5311f6b32db26"),
    _yolo("YOLO26x", "v8.4.0", 57.5, 118_667_365, "9fdd44a31c504547ffb81d2c6d9e6dac3493c8eaa8b0398d3f43bae6c7003e92"),
)
