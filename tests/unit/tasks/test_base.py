import torch

from polytask.tasks import masked_sums
from polytask.tasks.base import full_precision


def test_sums_and_counts():
    loss = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    mask = torch.tensor([[True, False], [True, True], [False, False]])
    sums, counts = masked_sums(loss, mask, torch.tensor([2.0, 1.0, 7.0]))
    assert (sums.tolist(), counts.tolist()) == ([5.0, 4.0], [3.0, 1.0])
    assert masked_sums(loss, mask, None).counts.tolist() == [2.0, 1.0]


def test_a_masked_nan_leaves_no_trace():
    """Multiplying by the mask would turn NaN · 0 into NaN, in value and in gradient."""
    output = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = output * torch.tensor([1.0, float("nan")])
    sums, _ = masked_sums(loss, torch.tensor([True, False]), None)
    sums.backward()
    assert sums.item() == 1.0
    assert output.grad[0] == 1.0
    wrong = (loss.detach() * torch.tensor([1.0, 0.0])).sum()
    assert wrong.isnan()


def test_full_precision_only_widens():
    for dtype, wide in ((torch.bfloat16, torch.float32), (torch.float16, torch.float32)):
        assert full_precision(torch.ones(1, dtype=dtype)).dtype == wide
    double = torch.ones(1, dtype=torch.float64)
    assert full_precision(double) is double
