"""Recipes: what ships parses, what is misspelt is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from posecli.errors import ConfigError
from posecli.pose.config import get_pose_config
from posecli.training.recipe import Recipe, read_recipe, recipe_facts

MINIMAL = """
name = "x"
network = "glsmamba-s"
[[data]]
annotations = "a.json"
images = "a"
[[stages]]
name = "one"
part = "encoder"
steps = 10
batch_size = 2
num_frames = 1
crop_hw = [64, 32]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_shipped_pose_recipes_parse_and_name_known_networks(repository: Path) -> None:
    found = sorted((repository / "posecli/training/recipes").glob("glsmamba-*.toml"))
    assert found
    for path in found:
        recipe = read_recipe(path)
        # xs is used on narrower crops than it was trained on; nobody should need wider ones
        used, trained = get_pose_config(recipe.network).crop_hw, recipe.stages[-1].crop_hw
        assert used[0] == trained[0] and used[1] <= trained[1]
        assert recipe.stages[-1].num_frames == get_pose_config(recipe.network).num_frames


def test_a_minimal_recipe_gets_the_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, MINIMAL))
    assert isinstance(recipe, Recipe)
    assert recipe.stages[0].crop_hw == (64, 32)
    assert recipe.augment.flip == 0.5


def test_a_weights_file_does_not_say_where_earlier_weights_lay(tmp_path: Path) -> None:
    paths = f'initial = "{tmp_path}/old.safetensors"\ninitial_encoder = "../there/encoder.safetensors"\n'
    facts = recipe_facts(read_recipe(write(tmp_path, paths + MINIMAL)))
    assert (facts["initial"], facts["initial_encoder"]) == ("old.safetensors", "encoder.safetensors")
    assert facts["stages"][0]["steps"] == 10
    assert recipe_facts(read_recipe(write(tmp_path, MINIMAL)))["initial"] == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 10", "step = 10", "unknown key 'step' in recipe.stages"),
        ("steps = 10", 'steps = "ten"', "recipe.stages.*steps.*'ten' is not of type int"),
        ("steps = 10", "steps = true", "steps.*True is not of type int"),
        ('part = "encoder"', 'part = "everything"', "'everything' is not one of encoder, network"),
        ("[64, 32]", "[64, 33]", "multiples of 32"),
        ("[64, 32]", "[64]", "needs 2 entries"),
        ('name = "x"', "", "missing 1 required.*name"),
        ('name = "x"', "name = ", "is not TOML"),
        ("batch_size = 2", "batch_size = 0", "must be positive"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path, MINIMAL.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as caught:
        read_recipe(path)
    assert str(path) in caught.value.message


def test_a_missing_recipe_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such.toml"):
        read_recipe(tmp_path / "no-such.toml")
