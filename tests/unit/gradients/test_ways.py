"""Which way the task gradients are taken, and where tasks part."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from polytask import MultiTaskBackward
from polytask.aggregation import GradNorm, Mean, UPGrad
from polytask.gradients.parting import find_parting
from polytask.gradients.reach import walk
from polytask.gradients.together import SEES_HOOKS


def losses_of(trunk, tasks: int, rows: int = 4, width: int = 32) -> list[Tensor]:
    torch.manual_seed(0)
    z = trunk(torch.randn(rows, width))
    return [nn.Linear(width, 1)(z).square().mean() for _ in range(tasks)]


def wide() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())


NET, HALF = wide(), wide().bfloat16()


class Own(torch.autograd.Function):
    """Knows nothing of batches of gradients."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float(2 + 0 * gradient.sum())


@pytest.mark.parametrize(
    ("trunk", "tasks", "rows", "way"),
    [
        (wide(), 8, 4, "together"),
        (wide(), 2, 4, "one-by-one"),  # too few tasks
        (wide(), 8, 500, "one-by-one"),  # many rows: gradients must be formed anyway
        (nn.Sequential(nn.Unflatten(1, (1, 32)), nn.Conv1d(1, 1, 1), nn.Flatten(), wide()), 8, 4,
         "one-by-one"),
        (lambda x: Own.apply(NET(x)), 8, 4, "one-by-one"),
        (lambda x: checkpoint(NET, x, use_reentrant=False), 8, 4, "one-by-one"),
        (lambda x: HALF(x.bfloat16()).float(), 8, 4, "one-by-one"),
    ],
)  # fmt: skip
def test_rule(trunk, tasks, rows, way):
    if not SEES_HOOKS:
        way = "one-by-one"
    report = MultiTaskBackward(UPGrad())(losses_of(trunk, tasks, rows))
    assert way in report.flags


def test_norms_are_not_assembled_unless_asked():
    assert "one-backward" in MultiTaskBackward(GradNorm())(losses_of(wide(), 3)).flags
    step = MultiTaskBackward(GradNorm(), update="assembled")
    assert "assembled" in step(losses_of(wide(), 3)).flags


def test_known_weights_are_one_pass():
    """Without a branch too: the heads are walked back once, at weight 1."""
    net, calls = wide(), []
    torch.manual_seed(0)
    z = net(torch.randn(4, 32))
    heads = [nn.Linear(32, 1) for _ in range(3)]
    losses = [head(z).square().mean() for head in heads]
    losses[0].grad_fn.register_hook(lambda *_: calls.append(1))
    MultiTaskBackward(Mean())(losses)
    assert calls == [1]


def test_where_tasks_part():
    net = wide()
    losses = losses_of(net, 3)
    found = walk(losses)
    parting = find_parting(found, list(net.parameters()))
    assert parting is not None
    assert [node.name() for node, _ in parting.numbers] == ["ReluBackward0"]
    assert sorted(crossing.task for crossing in parting.crossings) == [0, 1, 2]
    assert find_parting(found, list(net.parameters())[:-1]) is None  # named by the user


def test_a_loss_within_another_has_no_place_to_part():
    net = wide()
    first, second = losses_of(net, 2)
    losses = [first, first + second]
    shared = [
        leaf
        for leaf, mask in zip(walk(losses).leaves, walk(losses).masks, strict=True)
        if mask == 3
    ]
    assert find_parting(walk(losses), shared) is None
    report = MultiTaskBackward(UPGrad())(losses)
    assert report.present.all()


class TestWindow:
    def test_must_end_before_a_call_and_must_have_begun(self):
        step = MultiTaskBackward(UPGrad())
        with pytest.raises(ValueError, match="accumulate"):
            step.finish()
        step.accumulate(losses_of(wide(), 2), [1.0, 1.0])
        with pytest.raises(ValueError, match="finish"):
            step(losses_of(wide(), 2))

    @pytest.mark.parametrize(
        ("options", "word"), [({"at": "representation"}, "at"), ({"update": "backward"}, "update")]
    )
    def test_what_it_cannot_do(self, options, word):
        step = MultiTaskBackward(UPGrad(), **options)
        with pytest.raises(Exception, match=f"`{word}` must be"):
            step.accumulate(losses_of(wide(), 2), [1.0, 1.0])

    def test_counts_must_fit(self):
        step = MultiTaskBackward(UPGrad())
        for counts in ([1.0], [1.0, -1.0], {"0": 1.0, "1": 1.0, "2": 1.0}):
            with pytest.raises(ValueError, match="counts"):
                step.accumulate(losses_of(wide(), 2), counts)

    def test_over_the_budget(self):
        step = MultiTaskBackward(UPGrad(), max_gradient_memory=100)
        with pytest.raises(Exception, match="a window adds up"):
            step.accumulate(losses_of(wide(), 2), [1.0, 1.0])
