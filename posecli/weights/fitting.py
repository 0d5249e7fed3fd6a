"""Networks built from what a weights file says of itself: believed only as far as its tensors bear it out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from posecli.errors import ConfigError, WeightsError
from posecli.weights.files import LoadedWeights
from posecli.weights.registry import WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor, nn

Network = TypeVar("Network", bound="nn.Module")

MAX_SIZE = 65_536
"""The largest number a configuration in a file may hold; widths of networks are in the hundreds."""

MAX_BLOCKS = 256
"""The most blocks in a row."""

_BLOCKS = frozenset({"depth", "depths", "num_global_blocks", "num_local_blocks"})


def config_values(what: str, config: type, content: object) -> dict[str, Any]:
    """The values of a configuration as JSON has them, each of the kind its field has by default; lists become tuples.

    Args:
        what: Begins the message, such as ``lifter config``.
        config: A dataclass; fields that are dataclasses themselves are not looked into.
        content: From a file.

    Raises:
        ConfigError: It is no object, names a field that does not exist, or a value is of another kind or beyond `MAX_SIZE`.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f"{what}: is not an object of settings")
    known = {field.name: field for field in fields(config)}
    values = {}
    for name, value in content.items():
        if name not in known:
            raise ConfigError(f"{what}: unknown setting {str(name)[:40]!r}")
        value = tuple(value) if isinstance(value, list) else value
        if not _is_like(value, _default(known[name]), MAX_BLOCKS if name in _BLOCKS else MAX_SIZE):
            raise ConfigError(f"{what}: {name} is {str(value)[:40]!r}, which it cannot be")
        values[name] = value
    return values


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _is_like(value: Any, default: Any, largest: int) -> bool:
    match default:
        case bool() | str():
            return type(value) is type(default)
        case int():
            return type(value) is int and 0 <= value <= largest
        case float():
            return type(value) in (int, float) and math.isfinite(value) and abs(value) <= largest
        case tuple():
            return (
                isinstance(value, tuple)
                and len(value) <= largest
                and all(_is_like(v, default[0], largest) for v in value)
            )
    return True


def build_fitting(loaded: LoadedWeights, build: Callable[[], Network]) -> Network:
    """Build the network that a file's configuration describes and put the file's tensors into it.

    Sizes are compared before memory is taken: a configuration that claims a network of terabytes costs nothing.

    Args:
        loaded: The file.
        build: Makes the network from ``loaded.config``.

    Raises:
        WeightsError: The configuration describes no network, or one with other tensors.
    """
    if not _is_registered(loaded):
        _plan(loaded, build)
    network = build()
    network.load_state_dict(loaded.tensors)
    return network


def _is_registered(loaded: LoadedWeights) -> bool:
    """Whether the file is known byte for byte; planning costs a second, for what torch imports for it."""
    return any(loaded.sha256 == entry.sha256 for entry in WEIGHTS.values())


def _plan(loaded: LoadedWeights, build: Callable[[], nn.Module]) -> None:
    """Build a network without memory and compare."""
    import torch

    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that copying to it does nothing
            plan = build()
            plan.load_state_dict(loaded.tensors)
            _check_kinds(plan.state_dict(), loaded.tensors)
    except Exception as error:  # a description of no network fails in any way: ZeroDivisionError, IndexError, ...
        reason = (str(error) or type(error).__name__).splitlines()
        first = " ".join(part.strip() for part in reason[:2])[:300]
        raise WeightsError(f"{loaded.path}: tensors and config do not fit: {first}") from error


def _check_kinds(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    for name, tensor in own.items():
        if tensor.is_floating_point() != given[name].is_floating_point():
            raise ConfigError(f"{name} is of type {given[name].dtype}, not {tensor.dtype}")


__all__ = ["MAX_BLOCKS", "MAX_SIZE", "build_fitting", "config_values"]
