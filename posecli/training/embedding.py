"""A new encoder under old blocks: the embedding is fitted so that the blocks meet the tokens they know.

Legend: B windows, T frames, C encoder channels, D = d_model, N tokens of all crops.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from posecli.encoder import normalise_images
from posecli.errors import ConfigError
from posecli.pose.network import PoseNetwork

_RIDGE = 1e-3  # of the mean variance of a feature: keeps features that hardly vary from getting large weights


@torch.no_grad()
def fit_embedding(network: PoseNetwork, old: PoseNetwork, crops: Iterable[Tensor]) -> float:
    """Set the embedding of a network by least squares: its tokens become those of another network, as nearly as a linear map can.

    Args:
        network: With a new encoder; in training mode before and afterwards.
        old: Whose blocks and head it has; in eval mode.
        crops: (B, T, 3, H, W) uint8, a few batches.

    Returns:
        The part of the old tokens' variance that is explained, at most 1.

    Raises:
        ConfigError: The two differ in d_model.
    """
    if network.config.d_model != old.config.d_model:
        raise ConfigError(
            f"blocks of d_model {old.config.d_model} do not fit a network of d_model {network.config.d_model}"
        )
    was_training = network.training
    network.eval()
    features, tokens = [], []
    for images in crops:
        folded = normalise_images(images.flatten(0, 1))
        features.append(network.encoder(folded).permute(0, 2, 3, 1).flatten(0, 2))
        tokens.append(old.encode(folded[:, None]).flatten(0, 3))
    network.train(was_training)
    x, y = torch.cat(features).double(), torch.cat(tokens).double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x_centred, y_centred = x - x_mean, y - y_mean
    gram = x_centred.T @ x_centred
    gram.diagonal().add_(_RIDGE * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, x_centred.T @ y_centred).T
    network.embed.weight.copy_(weight)
    network.embed.bias.copy_(y_mean - weight @ x_mean)
    left = (y_centred - x_centred @ weight.T).square().sum() / y_centred.square().sum()
    return float(1.0 - left)
