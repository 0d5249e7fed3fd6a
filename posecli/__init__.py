"""posecli: turn video of people into pose annotations.

The command line is `posecli.cli`; from Python::

    import posecli

    result = posecli.annotate(Path("walk.mp4"), posecli.Outputs(Path("poses.json")))
    annotation = posecli.load(Path("poses.json"))

The names below are imported when first used, so that ``import posecli`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posecli.formats.coco import read_coco_dataset as load
    from posecli.pipeline.annotate import AnnotateResult, Outputs, annotate
    from posecli.pipeline.settings import AnnotateSettings
    from posecli.records import Annotation, PoseSequence, PoseSequence3D

__version__ = "0.1.0"

__all__ = [
    "AnnotateResult",
    "AnnotateSettings",
    "Annotation",
    "Outputs",
    "PoseSequence",
    "PoseSequence3D",
    "__version__",
    "annotate",
    "load",
]

_HOMES = {
    "AnnotateResult": ("posecli.pipeline.annotate", "AnnotateResult"),
    "AnnotateSettings": ("posecli.pipeline.settings", "AnnotateSettings"),
    "Annotation": ("posecli.records", "Annotation"),
    "Outputs": ("posecli.pipeline.annotate", "Outputs"),
    "PoseSequence": ("posecli.records", "PoseSequence"),
    "PoseSequence3D": ("posecli.records", "PoseSequence3D"),
    "annotate": ("posecli.pipeline.annotate", "annotate"),
    "load": ("posecli.formats.coco", "read_coco_dataset"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'posecli' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
