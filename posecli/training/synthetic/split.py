"""Which avatars, motions and places are held out: never rendered for training, so that figures on them are honest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeVar

from posecli.errors import ConfigError

Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = ("train", "test")

TEST_AVATARS = frozenset(
    "Asian_M_2_Milit Black_F_2_Util Hispanic_M_1_Casual MENA_F_1_Medi White_M_1_Default X_NHPI_F_3_Busi".split()
)
TEST_MOTIONS = frozenset(
    (
        "02_04 06_09 13_40 16_35 49_07 85_05 88_08 90_16 127_28 140_02 humanoid3d_spinkick 009_acted salsa_15 salsa_22 "
        "martial_07 indian_08 train_soccer_soccer_3 train_jumping_jumping_4 train_walking_extra_walking_33 "
        "train_basketball_basketball_5"
    ).split()
)
TEST_ENVIRONMENTS = frozenset("city dancing_hall forest lobby st_peters_square_night venice_sunset".split())

_Named = TypeVar("_Named")


def choose_split(
    items: Iterable[tuple[str, _Named]], held_out: frozenset[str], split: str, *, what: str
) -> list[_Named]:
    """Keep those of a split.

    Args:
        items: Names and things.
        held_out: Names of the test split.
        split: ``train`` or ``test``.
        what: For the message.

    Raises:
        ConfigError: The split is unknown, or nothing is left.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {split!r} is neither train nor test")
    items = list(items)
    kept = [item for name, item in items if (name in held_out) == (split == "test")]
    if not kept:
        raise ConfigError(
            f"no {what} for the split {split!r} among {len(items)}", hint="the names held out are in synthetic/split.py"
        )
    return kept
