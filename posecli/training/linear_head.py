"""A head fitted by least squares under an encoder that comes trained, before anything trains.

A head of random values sends random gradients through the encoder, which then forgets what it knew (Kumar et al. 2022: first the
head alone, then everything).

Legend: B pictures, C channels, K keypoints, h and w cells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from posecli.encoder import normalise_images
from posecli.errors import ConfigError
from posecli.pose.heatmaps import encode
from posecli.training.batches import Batch
from posecli.training.models import EncoderPretraining

_RIDGE = 1e-4  # of the mean square of a feature
_PICTURES = 1000


class HeadFit:
    """Sums over pictures, from which the best linear head for every keypoint follows.

    Args:
        num_channels: Of the features.
        num_keypoints: Of the heatmaps.
    """

    def __init__(self, num_channels: int, num_keypoints: int) -> None:
        side = num_channels + 1  # the last is the bias
        self._gram = torch.zeros(num_keypoints, side, side, dtype=torch.float64)
        self._product = torch.zeros(num_keypoints, side, dtype=torch.float64)

    def add(self, features: Tensor, targets: Tensor, is_labelled: Tensor) -> None:
        """Take (B, C, h, w), (B, K, h, w) and (B, K) bool into account."""
        rows = torch.cat([features, torch.ones_like(features[:, :1])], dim=1).flatten(2).transpose(1, 2)
        for keypoint, (gram, product) in enumerate(zip(self._gram, self._product, strict=True)):
            chosen = is_labelled[:, keypoint]
            x, y = rows[chosen].flatten(0, 1), targets[chosen, keypoint].flatten()
            gram += (x.T @ x).double().cpu()
            product += (x.T @ y).double().cpu()

    def solve(self) -> tuple[Tensor, Tensor]:
        """The head.

        Returns:
            (K, C) weights and (K,) biases; zeros for keypoints that nobody had.
        """
        gram = self._gram.clone()
        mean = gram.diagonal(dim1=1, dim2=2).mean(1, keepdim=True).clamp(min=1e-9)
        gram.diagonal(dim1=1, dim2=2).add_(_RIDGE * mean)
        solved = torch.linalg.solve(gram, self._product)
        return solved[:, :-1].float(), solved[:, -1].float()


@torch.no_grad()
def fit_linear_head(model: EncoderPretraining, steps: Iterable[Sequence[Batch]], *, sigma: float) -> None:
    """Set the head of an encoder that comes trained, in place.

    Args:
        model: In training mode before and afterwards.
        steps: Batches of training; about a thousand pictures of them are used.
        sigma: Of the targets, cells.

    Raises:
        ConfigError: There are no batches.
    """
    was_training = model.training
    model.eval()
    weight, bias = model.head.weight, model.head.bias
    assert bias is not None
    fit = HeadFit(weight.shape[1], weight.shape[0])
    pictures = 0
    for batch in (batch for step in steps for batch in step):
        images, cells, is_labelled = (tensor.flatten(0, 1).to(weight.device) for tensor in batch)
        features = model.encoder(normalise_images(images))
        fit.add(features, encode(cells, (features.shape[2], features.shape[3]), sigma), is_labelled)
        pictures += len(images)
        if pictures >= _PICTURES:
            break
    if not pictures:
        raise ConfigError("there is nobody to fit a head on")
    fitted_weight, fitted_bias = fit.solve()
    weight.copy_(fitted_weight[..., None, None])
    bias.copy_(fitted_bias)
    model.train(was_training)
