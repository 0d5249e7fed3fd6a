"""The detector's training: targets, losses, augmentation, resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from posecli.errors import ConfigError, PoseCliError
from posecli.formats.ground_truth import read_ground_truth
from posecli.people.detector import create_detector
from posecli.people.personnet import STRIDE, PersonNet, PersonNetConfig, boxes_from_cells
from posecli.records import Detections, Frame
from posecli.training.detector import loop
from posecli.training.detector.augment import Example, make_example
from posecli.training.detector.calibration import fit_calibration
from posecli.training.detector.data import Picture, is_group, load_pictures
from posecli.training.detector.initialise import initialise
from posecli.training.detector.loop import DetectorStep, DetectorTrainer, train_detector
from posecli.training.detector.loss import assign, box_loss, generalised_iou, make_targets, overlap, score_loss
from posecli.training.detector.recipe import (
    BoxAugmentConfig,
    BoxDataConfig,
    DetectorRecipe,
    ScheduleConfig,
    read_detector_recipe,
)
from posecli.weights import load_weights, save_weights

TINY = PersonNetConfig(width=0.1)
GRID = (96 // STRIDE, 128 // STRIDE)  # cells of `example`'s pictures
SHIPPED = Path(__file__).resolve().parents[3] / "posecli" / "training" / "recipes" / "personnet.toml"


def example(
    boxes: list[list[float]], *, ignored: list[bool] | None = None, unlabelled: list[list[float]] | None = None
) -> Example:
    return Example(
        np.zeros((96, 128, 3), np.uint8),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.ones(len(boxes), np.float32),
        np.array(ignored or [False] * len(boxes), np.bool_),
        np.array(unlabelled or [], np.float32).reshape(-1, 4),
    )


def bright_picture(rng: np.random.Generator) -> Picture:
    """Dark, with one bright upright rectangle: the simplest person."""
    image = rng.integers(0, 40, (96, 96, 3), dtype=np.uint8)
    x, y = int(rng.integers(5, 60)), int(rng.integers(5, 40))
    image[y : y + 45, x : x + 22] = rng.integers(200, 256, (45, 22, 3))
    half = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    box = np.array([[x - 0.5, y - 0.5, x + 21.5, y + 44.5]], np.float32)
    return Picture((image, half), box, np.zeros(1, np.bool_), True, 1.0)


def told(boxes: list[list[float]], shape: tuple[int, int] = GRID) -> torch.Tensor:
    """(1, 4, h, w): every cell believes in the box whose centre is nearest to it."""
    y, x = np.mgrid[: shape[0], : shape[1]] * STRIDE + (STRIDE - 1) / 2
    given = np.array(boxes, np.float32)
    centre = (given[:, :2] + given[:, 2:]) / 2
    nearest = ((x[..., None] - centre[:, 0]) ** 2 + (y[..., None] - centre[:, 1]) ** 2).argmin(axis=-1)
    return torch.from_numpy(given[nearest]).permute(2, 0, 1)[None]


def test_cells_whose_boxes_fit_speak_for_people() -> None:
    people = [[10.0, 5.0, 40.0, 80.0], [60.5, 30.0, 120.0, 60.0], [90.0, 70.0, 93.0, 73.0]]
    targets = make_targets([example(people)])
    logits, boxes = torch.zeros(1, *GRID), told(people)
    boxes[0, 3, 9, 5] = 50.0  # this one cell's box is too short
    short = 9 * GRID[1] + 5
    chosen = assign(logits, boxes, targets)
    assert set(chosen.people.tolist()) == {0, 1, 2}  # the smallest holds no cell's centre, but somebody speaks for it
    assert len(set(chosen.cells.tolist())) == len(chosen.cells)
    assert torch.bincount(chosen.people).max() <= 9
    wrong = chosen.scores[chosen.cells == short]
    assert (wrong < 0.1).all()
    right = chosen.scores[chosen.cells != short]
    torch.testing.assert_close(right, torch.ones_like(right))
    assert box_loss(told(people), targets, chosen) < 1e-5


def test_small_people_count_as_much_as_large_ones() -> None:
    people = [[8.0, 8.0, 72.0, 88.0], [100.0, 40.0, 106.0, 50.0]]
    targets = make_targets([example(people)])
    chosen = assign(torch.zeros(1, *GRID), told(people), targets)
    shares = torch.zeros(2).index_add(0, chosen.people, chosen.shares)
    torch.testing.assert_close(shares, torch.ones(2))
    assert torch.bincount(chosen.people)[0] > torch.bincount(chosen.people)[1]


def test_a_cell_that_two_people_claim_goes_to_the_better_fit() -> None:
    people = [[8.0, 8.0, 72.0, 88.0], [24.0, 8.0, 88.0, 88.0]]
    targets = make_targets([example(people)])
    chosen = assign(torch.zeros(1, *GRID), told(people), targets)
    column = chosen.cells % GRID[1] * STRIDE + (STRIDE - 1) / 2
    assert set(chosen.people.tolist()) == {0, 1}
    assert ((column > 48) == (chosen.people == 1)).all()


def test_surer_cells_are_preferred_among_equally_good_boxes() -> None:
    people = [[8.0, 8.0, 104.0, 88.0]]
    targets = make_targets([example(people)])
    logits = torch.full((1, *GRID), -3.0)
    logits[0, 12, 14] = 3.0
    chosen = assign(logits, told(people), targets)
    assert chosen.cells[chosen.scores.argmax()] == 12 * GRID[1] + 14
    assert chosen.scores.max() == pytest.approx(1.0)
    assert chosen.scores.min() < 0.3


def test_the_score_to_learn_is_how_well_the_best_box_fits() -> None:
    targets = make_targets([example([[8.0, 8.0, 48.0, 88.0]])])
    half = told([[8.0, 8.0, 48.0, 48.0]])
    assert assign(torch.zeros(1, *GRID), half, targets).scores.max() == pytest.approx(0.5, abs=1e-4)
    nowhere = told([[100.0, 8.0, 120.0, 20.0]])
    assert assign(torch.zeros(1, *GRID), nowhere, targets).scores.max() == pytest.approx(0.1, abs=1e-4)


def test_score_loss_knows_right_from_wrong() -> None:
    people = [[10.0, 5.0, 40.0, 80.0], [60.5, 30.0, 120.0, 60.0]]
    targets = make_targets([example(people)])
    chosen = assign(torch.zeros(1, *GRID), told(people), targets)
    right = torch.full((1, *GRID), -20.0)
    right.view(-1)[chosen.cells] = 20.0
    assert score_loss(right, targets, chosen) < 1e-3
    assert score_loss(-right, targets, chosen) > 5
    stray = right.clone()
    stray[0, -1, -1] = 5.0
    assert score_loss(stray, targets, chosen) > 0.1


def test_ignored_people_and_unlabelled_surroundings_teach_nothing() -> None:
    targets = make_targets([example([[8, 8, 40, 40], [64, 8, 120, 90]], ignored=[False, True])])
    assert targets.people.tolist() == [[8, 8, 40, 40]]  # the ignored one is nobody ...
    assert (targets.weight[0, 2:22, 16:29] == 0).all()  # ... and no background
    assert targets.weight[0, 2, 2] == 1
    partly = make_targets([example([[8, 8, 40, 40]], unlabelled=[[-0.5, -0.5, 99.5, 95.5]])])
    assert partly.weight[0, 16, 16] == 0
    assert partly.weight[0, 4, 4] == 1
    assert partly.weight[0, 16, 28] == 1  # the border around the picture is known


def test_rough_boxes_count_less() -> None:
    boxes = [[8.0, 8.0, 40.0, 88.0], [72.0, 8.0, 104.0, 88.0]]
    off = told([[8.0, 8.0, 40.0, 88.0], [72.0, 8.0, 104.0, 48.0]])  # the second is half of what it should be
    both = make_targets([example(boxes)])
    rough = make_targets([replace(example(boxes), box_weights=np.array([1.0, 0.25], np.float32))])
    chosen = assign(torch.zeros(1, *GRID), off, both)
    assert 0 < box_loss(off, rough, chosen) < 0.5 * box_loss(off, both, chosen)


def test_losses_of_a_picture_without_people_are_finite() -> None:
    targets = make_targets([example([])])
    boxes = boxes_from_cells(torch.zeros(1, 2, *GRID), torch.ones(1, 2, *GRID)).requires_grad_()
    logits = torch.full((1, *GRID), -3.0)
    chosen = assign(logits, boxes, targets)
    loss = score_loss(logits, targets, chosen) + box_loss(boxes, targets, chosen)
    loss.backward()
    assert torch.isfinite(loss)
    assert box_loss(boxes, targets, chosen) == 0


def test_people_of_different_pictures_do_not_mix() -> None:
    people = [[8.0, 8.0, 48.0, 88.0]]
    targets = make_targets([example([]), example(people), example(people)])
    chosen = assign(torch.zeros(3, *GRID), told(people).expand(3, 4, *GRID), targets)
    assert (chosen.cells // (GRID[0] * GRID[1]) == chosen.people + 1).all()


def test_generalised_iou_against_hand_values() -> None:
    a = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    b = torch.tensor([[1.0, 0.0, 3.0, 2.0], [2.0, 0.0, 3.0, 1.0]])
    torch.testing.assert_close(generalised_iou(a, b), torch.tensor([1 / 3, -1 / 3]))
    torch.testing.assert_close(overlap(a, b), torch.tensor([1 / 3, 0.0]))


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("side", [96, 256])
def test_boxes_move_with_the_pixels(count: int, side: int) -> None:
    rng = np.random.default_rng(count)
    config = BoxAugmentConfig(colour=0.0, blur=0.0, greyscale=0.0, min_side_px=4.0, scale=(0.3, 1.5))
    num_checked = 0
    for _ in range(20):
        made = make_example([bright_picture(rng) for _ in range(count)], config, side_px=side, rng=rng)
        assert made.image.shape == (side, side, 3)
        for box, is_ignored in zip(made.boxes, made.is_ignored, strict=True):
            low, high = np.rint(box[:2] + 0.5).astype(int), np.rint(box[2:] + 0.5).astype(int)
            if is_ignored or (high - low).min() < 8:
                continue
            assert (
                made.image[low[1] + 2 : high[1] - 2, low[0] + 2 : high[0] - 2].min() > 120
            )  # bright throughout inside
            for beyond in (
                made.image[low[1] : high[1], max(low[0] - 4, 0) : max(low[0] - 2, 0)],
                made.image[high[1] + 2 : high[1] + 4],
            ):
                assert beyond.size == 0 or np.median(beyond) < 120  # dark or grey just outside
            num_checked += 1
    assert num_checked > 10


def disc_picture(radii: tuple[int, int]) -> Picture:
    """Dark, with one bright ellipse."""
    image = np.full((96, 128, 3), 20, np.uint8)
    cv2.ellipse(image, (70, 40), radii, 0, 0, 360, (250, 250, 250), cv2.FILLED)
    half = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    box = np.array([[70 - radii[0], 40 - radii[1], 70 + radii[0], 40 + radii[1]]], np.float32)
    return Picture((image, half), box, np.zeros(1, np.bool_), True, 1.0)


UNTOUCHED = BoxAugmentConfig(colour=0.0, blur=0.0, greyscale=0.0, min_visible=0.99, scale=(0.9, 1.1), max_aspect=1.3)


@pytest.mark.parametrize(
    "config",
    [replace(UNTOUCHED, rotation=1.0, rotation_deg=40.0), replace(UNTOUCHED, quarter_turn=1.0)],
    ids=["tilted", "lying"],
)
def test_boxes_turn_with_the_pixels(config: BoxAugmentConfig) -> None:
    rng = np.random.default_rng(1)
    num_checked = 0
    for _ in range(20):
        made = make_example([disc_picture((12, 34))], config, side_px=256, rng=rng)
        if len(made.boxes) and not made.is_ignored[0]:
            y, x = np.nonzero(made.image[..., 0] > 180)
            seen = [x.min(), y.min(), x.max(), y.max()]
            np.testing.assert_allclose(made.boxes[0], seen, atol=2.5)
            num_checked += 1
    assert num_checked > 10


def test_patches_cover_only_people() -> None:
    config = BoxAugmentConfig(colour=0.0, blur=0.0, greyscale=0.0, scale=(1.0, 1.0), max_aspect=1.0, erase=1.0)
    pictures = [bright_picture(np.random.default_rng(seed)) for seed in range(8)]
    bare = [make_example([p], replace(config, erase=0.0), side_px=96, rng=np.random.default_rng(3)) for p in pictures]
    made = [make_example([p], config, side_px=96, rng=np.random.default_rng(3)) for p in pictures]
    changed = [np.nonzero((a.image != b.image).any(axis=-1)) for a, b in zip(bare, made, strict=True)]
    assert all(len(y) > 20 for y, _ in changed)
    for (y, x), one in zip(changed, made, strict=True):
        x0, y0, x1, y1 = one.boxes[0]
        assert x.min() >= x0 - 1
        assert x.max() <= x1 + 1
        assert y.min() >= y0 - 1
        assert y.max() <= y1 + 1


def test_jpeg_leaves_traces_not_other_colours() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((96, 96, 3), np.uint8)
    image[..., 0] = 200
    plain = Picture((image, image[::2, ::2]), np.zeros((0, 4), np.float32), np.zeros(0, np.bool_), True, 1.0)
    config = BoxAugmentConfig(colour=0.0, blur=0.0, greyscale=0.0, scale=(1.0, 1.0), max_aspect=1.0, jpeg=1.0)
    made = make_example([plain], config, side_px=96, rng=rng).image.astype(int)
    assert np.abs(made - image).mean() < 4


def test_groups_are_boxes_around_many() -> None:
    members = [[i * 10, 0, i * 10 + 9, 20] for i in range(4)]
    boxes = np.array([[0, 0, 40, 21], *members, [100, 0, 140, 21]], np.float32)
    assert is_group(boxes, 4).tolist() == [True, False, False, False, False, False]
    assert is_group(boxes, 5).tolist() == [False] * 6
    assert is_group(np.zeros((0, 4), np.float32), 4).shape == (0,)


def write_set(root: Path) -> BoxDataConfig:
    rng = np.random.default_rng(0)
    images, annotations = [], []
    (root / "images").mkdir(parents=True)
    for i in range(1, 9):
        picture = bright_picture(rng)
        cv2.imwrite(str(root / "images" / f"{i}.png"), picture.images[0][..., ::-1])
        x0, y0, x1, y1 = picture.boxes[0].tolist()
        images.append({"id": i, "file_name": f"{i}.png", "width": 96, "height": 96})
        box = [x0, y0, x1 - x0, y1 - y0]
        annotations.append(
            {"id": i, "image_id": i, "category_id": 1, "iscrowd": int(i == 3), "bbox": box, "area": box[2] * box[3]}
        )
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (root / "train.json").write_text(json.dumps(document))
    return BoxDataConfig("train.json", "images")


def test_pictures_are_read_with_holdout_and_crowds(tmp_path: Path) -> None:
    config = write_set(tmp_path)
    assert len(load_pictures(config, tmp_path)) == 8
    kept = load_pictures(replace(config, holdout_modulo=4, box_weight=0.5, has_all_people=False), tmp_path)
    assert len(kept) == 6  # 4 and 8 are held out
    assert [bool(picture.is_ignored[0]) for picture in kept] == [False, False, True, False, False, False]
    assert kept[0].images[1].shape == (48, 48, 3)
    assert (kept[0].box_weight, kept[0].has_all_people) == (0.5, False)


def tiny_recipe(steps: int, *, has_norms: bool = False) -> DetectorRecipe:
    schedule = ScheduleConfig(
        steps=steps, sizes_px=(96,), pixels_per_step=6 * 96 * 96, learning_rate=1e-2, warmup_steps=5, precision="fp32"
    )
    return DetectorRecipe(
        "tiny",
        schedule,
        (BoxDataConfig("train.json", "images"),),
        network=TINY,
        seed=1,
        ema_decay=0.9,
        has_norms=has_norms,
    )


def collect(trainer: DetectorTrainer) -> list[DetectorStep]:
    steps: list[DetectorStep] = []
    trainer.run(steps.append)
    return steps


def test_training_learns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    steps = collect(DetectorTrainer(tiny_recipe(40), [[bright_picture(rng) for _ in range(16)]], tmp_path))
    first, last = steps[:5], steps[-5:]
    assert sum(s.centre_loss for s in last) < 0.9 * sum(s.centre_loss for s in first)  # targets below 1: never 0
    assert sum(s.box_loss for s in last) < 0.7 * sum(s.box_loss for s in first)


@pytest.mark.parametrize("has_norms", [False, True])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(has_norms: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [[bright_picture(rng) for _ in range(4)]]
    recipe = tiny_recipe(6, has_norms=has_norms)
    whole = DetectorTrainer(recipe, pictures, tmp_path / "whole").run(lambda step: None)

    class Interrupted(Exception):
        pass

    def stop_after_three(step: DetectorStep) -> None:
        if step.step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        DetectorTrainer(recipe, pictures, tmp_path / "parts", checkpoint_every=3).run(stop_after_three)
    resumed = DetectorTrainer(recipe, pictures, tmp_path / "parts")
    assert resumed.step == 3
    assert whole.keys() == PersonNet(TINY).state_dict().keys()
    for name, value in resumed.run(lambda step: None).items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0)
    with pytest.raises(ConfigError, match="another recipe"):
        DetectorTrainer(tiny_recipe(7), pictures, tmp_path / "parts")


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [(lambda box: box * float("nan"), "the loss is nan"), (lambda box: box.sqrt() * 0.0, "its gradient nan")],
)
def test_what_is_no_number_stops_the_run(
    spoiled: Callable[[Tensor], Tensor], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "box_loss", lambda boxes, *rest: spoiled((boxes * 0.0).sum()))
    trainer = DetectorTrainer(tiny_recipe(2), [[bright_picture(np.random.default_rng(0))]], tmp_path)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    with pytest.raises(PoseCliError, match=rf"^tiny: .*{message}.* at step 0 \([^\n]*\)$"):
        trainer.run(lambda step: None)
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.named_parameters())


def test_encoder_comes_from_pose_weights(tmp_path: Path) -> None:
    donor, model = PersonNet(TINY), PersonNet(TINY)
    stem, head = "encoder.stem.conv.weight", "centre.0.pointwise.conv.weight"
    tensors = {
        f"network.{name}": value + 1 for name, value in donor.state_dict().items() if name.startswith("encoder.")
    }
    torch.save({"averaged": tensors}, tmp_path / "checkpoint.pt")
    assert initialise(model, tmp_path / "checkpoint.pt") > 30
    torch.testing.assert_close(model.state_dict()[stem], donor.state_dict()[stem] + 1)
    assert not torch.equal(model.state_dict()[head], donor.state_dict()[head] + 1)
    path = tmp_path / "other.safetensors"
    save_weights(path, {"encoder.stem.conv.weight": torch.zeros(1)}, kind="pose", config={})
    with pytest.raises(ConfigError, match="does not fit"):
        initialise(model, path)


def test_training_continues_from_a_calibrated_detector(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = replace(TINY, score_scale=2.5, score_shift=0.75)
    donor, model = PersonNet(config).eval(), PersonNet(TINY).eval()
    path = tmp_path / "detector.safetensors"
    save_weights(path, donor.state_dict(), kind="detector", config=asdict(config))
    assert initialise(model, path) == len(model.state_dict())
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        (given, boxes), (centre, same) = donor(images), model(images)
    torch.testing.assert_close(centre, 2.5 * given + 0.75, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(same, boxes, rtol=1e-2, atol=1e-1)


def test_first_weights_may_have_a_share_in_the_result(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = PersonNet(TINY)
    whole, encoder = tmp_path / "whole.safetensors", tmp_path / "encoder.safetensors"
    save_weights(whole, first.state_dict(), kind="detector", config=asdict(TINY))
    tensors = {name: value for name, value in first.state_dict().items() if name.startswith("encoder.")}
    save_weights(encoder, tensors, kind="pose", config={})
    rng = np.random.default_rng(0)
    pictures = [[bright_picture(rng) for _ in range(4)]]
    recipe = replace(tiny_recipe(3, has_norms=True), initialise_encoder_from="a test")
    trained = DetectorTrainer(recipe, pictures, tmp_path / "a", init=whole).run(lambda step: None)
    recipe = replace(recipe, initial_share=0.25)
    mixed = DetectorTrainer(recipe, pictures, tmp_path / "b", init=whole).run(lambda step: None)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(mixed[name], 0.75 * trained[name] + 0.25 * value)
    with pytest.raises(ConfigError, match="needs the weights of a whole detector"):
        DetectorTrainer(recipe, pictures, tmp_path / "c", init=encoder)
    with pytest.raises(ConfigError, match="initial_share"):
        replace(tiny_recipe(3), initial_share=0.5)


def test_recipe_and_init_must_agree(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="initialise_encoder_from"):
        DetectorTrainer(tiny_recipe(1), [[bright_picture(rng)]], tmp_path, init=tmp_path / "x.pt")


def test_a_recipe_becomes_a_detector(tmp_path: Path) -> None:
    write_set(tmp_path / "data")
    (tmp_path / "recipe.toml").write_text(
        'name = "tiny"\n[schedule]\nsteps = 2\nsizes_px = [64]\npixels_per_step = 8192\n'
        '[[data]]\nannotations = "train.json"\nimages = "images"\n'
        "[network]\nwidth = 0.1\n"
    )
    path = train_detector(tmp_path / "recipe.toml", tmp_path / "data", tmp_path / "run")
    loaded = load_weights(path)
    assert (loaded.kind, loaded.metadata["steps"], loaded.metadata["num_pictures"]) == ("detector", 2, [8])
    [found] = create_detector("embedded", weights=str(path)).detect([Frame(0, 0, 0.0, np.zeros((50, 90, 3), np.uint8))])
    assert found.frame_index == 0


def test_the_shipped_recipe_parses_and_typos_do_not(tmp_path: Path) -> None:
    recipe = read_detector_recipe(SHIPPED)
    assert recipe.name == "personnet"
    assert sum(data.holdout_modulo == 5 for data in recipe.data) == 1
    path = tmp_path / "typo.toml"
    path.write_text(SHIPPED.read_text().replace("share =", "shaer =", 1))
    with pytest.raises(ConfigError, match=r"typo\.toml.*shaer"):
        read_detector_recipe(path)
    with pytest.raises(ConfigError, match="multiples of 32"):
        ScheduleConfig(steps=1, sizes_px=(100,))


def test_calibrated_scores_are_how_often_boxes_are_right(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    config = write_set(tmp_path)
    truth = read_ground_truth(tmp_path / config.annotations)
    found = {}
    logits = rng.normal(-1.0, 1.0, 4000)
    is_right = rng.random(4000) < 1 / (1 + np.exp(-(3.0 * logits + 1.5)))  # the law to be found again
    for i in range(4000):
        person = truth.boxes[i % 8]
        box = person if is_right[i] else person + 200
        found[i] = Detections(i, box[None], np.array([1 / (1 + np.exp(-logits[i]))], np.float32))
    many = replace(truth, images=tuple(replace(truth.images[i % 8], image_id=i) for i in range(4000)))
    many = replace(many, image_ids=np.arange(4000), boxes=np.tile(truth.boxes, (500, 1)))
    scale, shift = fit_calibration(found, many)
    assert scale == pytest.approx(3.0, abs=0.3)
    assert shift == pytest.approx(1.5, abs=0.3)
    with pytest.raises(ConfigError, match="not enough"):
        fit_calibration({}, truth)
