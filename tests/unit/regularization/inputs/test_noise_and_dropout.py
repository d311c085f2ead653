"""Noise and dropout on inputs: what they do to numbers, and that codes stay codes."""

import pytest
import torch
from torch import Tensor, nn

from polytask.data.batch import Batch
from polytask.errors import InvalidArgument
from polytask.regularization.inputs import FeatureDropout, InputNoise


def table(rows: int = 4000) -> Batch:
    inputs = {
        "numeric": torch.full((rows, 3), 2.0),
        "categories": torch.full((rows, 2), 7),
    }
    return Batch(inputs, {}, {}, None, torch.arange(rows))


def test_noise_has_its_deviation_and_leaves_codes():
    torch.manual_seed(0)
    before = table()
    after, mixing = InputNoise(0.3)(before)
    assert mixing is None
    noise = after.inputs["numeric"] - 2.0
    count = noise.numel()
    assert abs(float(noise.mean())) < 5 * 0.3 / count**0.5
    assert abs(float(noise.std()) - 0.3) < 5 * 0.3 / (2 * count) ** 0.5
    assert torch.equal(after.inputs["categories"], before.inputs["categories"])
    assert bool((before.inputs["numeric"] == 2.0).all())


def test_noise_on_a_linear_model_is_a_ridge_penalty():
    """E (w·(x + n) − y)² = (w·x − y)² + s²‖w‖²; a noise of variance s fails."""
    torch.manual_seed(0)
    w, s = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), 0.2
    rows = torch.full((200_000, 3), 0.7, dtype=torch.float64)

    def loss(x: Tensor) -> float:
        return float((x @ w - 1.0).square().mean())

    def excess(deviation: float) -> float:
        noisy, _ = InputNoise(deviation)(Batch(rows, {}, {}, None, torch.arange(len(rows))))
        return loss(noisy.inputs) - loss(rows)

    expected = s**2 * float(w.square().sum())
    assert excess(s) == pytest.approx(expected, rel=0.05)
    assert excess(s**0.5) != pytest.approx(expected, rel=0.05)


def check_dropped(before: Tensor, after: Tensor, p: float) -> None:
    """Scaled or zero, every cell on its own, in the right proportion."""
    kept = after != 0
    torch.testing.assert_close(after[kept], (before / (1.0 - p))[kept])
    assert abs(float(kept.float().mean()) - (1 - p)) < 5 * (p * (1 - p) / kept.numel()) ** 0.5
    columns = kept.float()
    together = (columns[:, 0] * columns[:, 1]).mean()
    assert abs(float(together) - (1 - p) ** 2) < 5 * 0.5 / len(kept) ** 0.5


def test_features_drop_for_every_row_on_its_own():
    torch.manual_seed(0)
    before = table()
    after, mixing = FeatureDropout(0.3)(before)
    assert mixing is None
    check_dropped(before.inputs["numeric"], after.inputs["numeric"], 0.3)
    codes = after.inputs["categories"]
    assert codes.dtype == torch.int64
    assert set(codes.unique().tolist()) == {0, 7}
    assert abs(float((codes == 7).float().mean()) - 0.7) < 5 * (0.21 / codes.numel()) ** 0.5


def one_mask_per_row(x: Tensor) -> Tensor:
    return x * nn.functional.dropout(torch.ones(len(x), 1), 0.3)


def one_mask_per_batch(x: Tensor) -> Tensor:
    return x * nn.functional.dropout(torch.ones(1, x.shape[1]), 0.3)


def unscaled(x: Tensor) -> Tensor:
    return x * (torch.rand_like(x) >= 0.3)


@pytest.mark.parametrize("wrong", [one_mask_per_row, one_mask_per_batch, unscaled])
def test_a_wrong_mask_is_found(wrong):
    torch.manual_seed(0)
    before = table().inputs["numeric"]
    with pytest.raises(AssertionError):
        check_dropped(before, wrong(before), 0.3)


def test_further_axes_drop_with_their_feature():
    torch.manual_seed(0)
    batch = Batch(torch.ones(200, 3, 4), {}, {}, None, torch.arange(200))
    after = FeatureDropout(0.5)(batch)[0].inputs
    assert set(after.mean(2).unique().tolist()) == {0.0, 2.0}


def test_arguments_are_checked():
    for deviation in (0.0, -1.0, float("nan")):
        with pytest.raises(InvalidArgument, match="deviation"):
            InputNoise(deviation)
    for probability in (0.0, 1.0, float("nan")):
        with pytest.raises(InvalidArgument, match="probability"):
            FeatureDropout(probability)


def test_descriptions_name_the_strength():
    assert "0.05" in InputNoise(0.05).describe()
    assert "0.1" in FeatureDropout(0.1).describe()
    assert not InputNoise.mixes
    assert not FeatureDropout.mixes
