"""MoveNet's single-pose models (Lightning, Thunder) to a weights file that training of a pose network can start from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from posecli.atomic import check_output
from posecli.mobile_encoder import MobileEncoder
from posecli.movenet import LICENCE_NOTE, MOVENET, config_of, pyramid_tensors, read_graph_model, separable_tensors
from posecli.weights.foreign import check_tensors, save_encoder, shapes_of

_HIDDEN = "kpt_heatmap_0/separable_conv2d_4"


def import_movenet(path: Path, out: Path, *, overwrite: bool = False) -> dict[str, Tensor]:
    """Convert the graph model to a weights file that a recipe's ``initial_encoder`` may name.

    Args:
        path: The JSON file of the graph model, its binary files beside it.
        out: The ``.safetensors`` file to write.
        overwrite: Whether ``out`` may be replaced.

    Returns:
        The tensors written: all of `MobileEncoder`, named as in `posecli.pose.network.PoseNetwork`.

    Raises:
        WeightsError: There is no such file; it is damaged, or no MoveNet. Every tensor that differs is named, up to ten of each sort.
        OutputError: ``out`` exists or cannot be written.
    """
    check_output(out, overwrite=overwrite)
    public = read_graph_model(path)
    config = config_of(public)
    own = shapes_of(lambda: MobileEncoder(config))
    hidden = separable_tensors(public, _HIDDEN, "hidden")
    # computed before the map is turned back
    hidden = {name: value.flip(2, 3) if value.ndim == 4 else value for name, value in hidden.items()}
    converted = pyramid_tensors(public, [name for name in own if not name.startswith("hidden.")]) | hidden
    check_tensors(
        path, converted, own, of=MOVENET, hint="here posecli reads the single-pose models, Lightning and Thunder"
    )
    metadata = {"source": f"public {MOVENET} graph model", "licence_note": LICENCE_NOTE}
    settings = {"encoder": asdict(config) | {"kind": "mobile"}}
    return save_encoder(out, converted, settings=settings, source=path, metadata=metadata, overwrite=overwrite)
