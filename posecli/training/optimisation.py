"""One optimiser step, the same for every kind of training: gradients clipped, weights averaged, never a step on what is no number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from posecli.errors import PoseCliError
from posecli.training.schedule import Schedule, follow, learning_rate


class Optimisation:
    """A model, its optimisers (AdamW, and Muon for matrices if wanted) and its averaged weights.

    Args:
        model: In training mode, where it is to stay.
        groups: Parameter groups with ``params``, ``factor`` (on the learning rate) and ``weight_decay``.
        matrices: Such groups of 2D parameters that Muon is to move: every step a rotation, of the same length in all directions.
        schedule: Rates.
        gradient_clip: Largest norm of the gradients.
        ema_decay: Decay of the averaged weights, which are the ones released.
    """

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[dict[str, Any]],
        schedule: Schedule,
        *,
        matrices: Sequence[dict[str, Any]] = (),
        gradient_clip: float,
        ema_decay: float,
    ) -> None:
        self.model, self.schedule = model, schedule
        self.gradient_clip, self.ema_decay = gradient_clip, ema_decay
        self.averaged = {name: value.detach().clone() for name, value in model.state_dict().items()}
        self.optimisers: dict[str, torch.optim.Optimizer] = {
            "optimiser": torch.optim.AdamW(list(groups), lr=schedule.learning_rate)
        }
        if matrices:
            self.optimisers["matrices"] = torch.optim.Muon(list(matrices), lr=schedule.learning_rate)
        self.step = 0

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return learning_rate(self.schedule, self.step)

    def advance(self, add_gradients: Callable[[], float], *, name: str) -> float:
        """Take a step.

        Args:
            add_gradients: Runs the model backwards and returns the loss.
            name: Of what is trained, for the message.

        Returns:
            The loss.

        Raises:
            PoseCliError: The loss or its gradient is not a number; the weights are as they were.
        """
        for optimiser in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = self.rate * group["factor"]
        self.model.zero_grad(set_to_none=True)
        loss = add_gradients()
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise PoseCliError(
                f"{name}: the loss is {loss} and its gradient {norm} at step {self.step}",
                hint="lower learning_rate; the last checkpoint is good",
            )
        for optimiser in self.optimisers.values():
            optimiser.step()
        self.step += 1
        follow(self.averaged, self.model, decay=self.ema_decay, step=self.step)
        return loss

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            **{name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.step, self.averaged = state["step"], state["averaged"]
        self.model.load_state_dict(state["model"])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state[name])


def decay_groups(
    model: nn.Module,
    weight_decay: float,
    *,
    has_own_rate: Callable[[str], bool] = lambda name: False,
    own_rate: float = 1.0,
    is_left_out: Callable[[str], bool] = lambda name: False,
) -> list[dict[str, Any]]:
    """Parameter groups without weight decay on biases, norms and what says ``no_weight_decay``.

    Args:
        model: Whose parameters.
        weight_decay: Of the others.
        has_own_rate: By a parameter's name, whether its learning rate differs.
        own_rate: Factor on the learning rate of those.
        is_left_out: By a parameter's name, whether it is in no group.
    """
    # by the name and not by the factor: the groups, and so old checkpoints, stay the same where the factor is 1
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not is_left_out(name):
            has_decay = parameter.ndim > 1 and not getattr(parameter, "no_weight_decay", False)
            groups.setdefault((has_own_rate(name), has_decay), []).append(parameter)
    return [
        {
            "params": parameters,
            "factor": own_rate if is_own else 1.0,
            "weight_decay": weight_decay if has_decay else 0.0,
        }
        for (is_own, has_decay), parameters in groups.items()
    ]
