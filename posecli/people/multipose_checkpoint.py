"""MoveNet MultiPose to a detector's weights file: its extractor, and its heads for the centres and boxes of people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from posecli.atomic import check_output
from posecli.movenet import (
    LICENCE_NOTE,
    MOVENET,
    config_of,
    pointwise_tensors,
    pyramid_tensors,
    read_graph_model,
    separable_tensors,
)
from posecli.people.personnet import ENCODER_TENSORS, PersonNet, PersonNetConfig
from posecli.weights import save_weights
from posecli.weights.foreign import check_tensors, shapes_of, source_facts

# by our head: theirs, the number of its separable convolution, and that of its last one
_HEADS = {"centre": ("center_0", 3, 4), "size": ("box_scale_0", 4, 5), "offset": ("box_offset_0", 5, 6)}


def import_multipose(path: Path, out: Path, *, overwrite: bool = False) -> dict[str, Tensor]:
    """Convert the graph model to a weights file of `PersonNet`, from which its training can start; its keypoints are left out.

    Args:
        path: The JSON file of the graph model, its binary files beside it.
        out: The ``.safetensors`` file to write.
        overwrite: Whether ``out`` may be replaced.

    Returns:
        The tensors written: all of `PersonNet`.

    Raises:
        WeightsError: There is no such file; it is damaged, or no MultiPose. Up to ten differences of each sort are named.
        OutputError: ``out`` exists or cannot be written.
    """
    check_output(out, overwrite=overwrite)
    public = read_graph_model(path)
    config = PersonNetConfig(width=config_of(public).width)
    own = shapes_of(lambda: PersonNet(config))
    names = [name.removeprefix(ENCODER_TENSORS) for name in own if name.startswith(ENCODER_TENSORS)]
    converted = {ENCODER_TENSORS + name: value for name, value in pyramid_tensors(public, names).items()}
    for head, (source, hidden, last) in _HEADS.items():
        converted |= separable_tensors(public, f"{source}/separable_conv2d_{hidden}", f"{head}.0")
        converted |= pointwise_tensors(public, f"{source}/conv2d_{last}", f"{head}.1")
    of = f"{MOVENET} MultiPose"
    check_tensors(path, converted, own, of=of, hint="here posecli reads the model for several people")
    metadata = {
        "source": f"public {of} graph model",
        **source_facts(path),
        "licence_note": LICENCE_NOTE,
    }
    save_weights(out, converted, kind="detector", config=asdict(config), metadata=metadata, overwrite=overwrite)
    return converted
