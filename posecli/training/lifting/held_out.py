"""Which recordings are held out of the lifter's training, by name, so that figures on them are honest.

Closed in three ways. What `posecli.training.synthetic.split` holds out for rendered clips is held out here too. The same take under
another name goes with it: the collections called ``act__`` and ``walk__`` share recordings under different names; the twins were
found by comparing the directions of the limbs over time, whatever the skeleton. And so do the partner in the same dance (salsa
1..15 and 16..30 are the two partners) and, of walks, every walk of the same performer (16 and 39).
"""

from __future__ import annotations

from posecli.training.synthetic.split import TEST_MOTIONS

_WALKS = (
    "16_15 16_16 16_21 16_22 16_31 16_32 16_47 16_58 "
    "39_01 39_02 39_03 39_04 39_05 39_06 39_07 39_08 39_09 39_10 39_12 39_13 39_14"
)
_EXTRA_WALKS = (*range(27, 35), *range(37, 47))  # performers 16 and 39
_DANCES = "salsa_15 salsa_30 salsa_07 salsa_22 martial_07 indian_08"
_ACTS = (
    "train_soccer_soccer_3 train_jumping_jumping_4 train_basketball_basketball_5 "
    "test_running_running_1 "  # 16_35
    "test_washwindow_washwindow_1"  # a long one
)

HELD_OUT: frozenset[str] = frozenset(
    (
        "subj__02_04",
        *(f"walk__CMU_walkcycles_{take}" for take in _WALKS.split()),
        *(f"act__train_walking_extra_walking_{number}" for number in _EXTRA_WALKS),
        *(f"dance__{name}" for name in _DANCES.split()),
        *(f"act__{name}" for name in _ACTS.split()),
    )
)
"""Names in the file of joint positions."""

_FAMILIES = ("act__", "subj__", "dance__", "walk__CMU_walkcycles_")
_RUNS_AND_JUMPS_OF_16 = "16_07 16_08 16_35 16_38 16_39 16_40 16_48 16_49 16_52"
_SAME_TAKE = "humanoid3d_run_jump"  # 127_28

HELD_OUT_MOTIONS: frozenset[str] = frozenset(
    (
        *TEST_MOTIONS,
        *(name.removeprefix(family) for name in HELD_OUT for family in _FAMILIES if name.startswith(family)),
        *_RUNS_AND_JUMPS_OF_16.split(),
        _SAME_TAKE,
    )
)
"""Names in the file of joint rotations."""
