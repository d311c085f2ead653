"""The contract of one multi-task backward pass on a model small enough to calculate by hand."""

import pytest
import torch
from torch import Tensor, nn

from polytask import MultiTaskBackward, branch, multitask_backward
from polytask.aggregation import (
    DBMTL,
    IMTLG,
    MGDA,
    ClipTaskGradients,
    EqualizeNorms,
    EveryN,
    GradDrop,
    GramianAggregator,
    MoCo,
    MovingAverageWeights,
    PCGrad,
    Sum,
    UPGrad,
)
from polytask.balancing import EqualWeights, FixedWeights, LossBalancer, RandomWeights
from polytask.errors import InvalidArgument, PolytaskWarning, Unsupported


class Small(nn.Module):
    """Trunk 3 → 4, one linear head per task."""

    def __init__(self, num_tasks: int = 3, kind: torch.dtype = torch.float64):
        super().__init__()
        generator = torch.Generator().manual_seed(5)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(kind)

        self.trunk = nn.Parameter(draw(4, 3))
        self.heads = nn.ParameterList(draw(4) for _ in range(num_tasks))
        self.x, self.y = draw(7, 3), draw(7, num_tasks)

    def features(self) -> Tensor:
        return torch.tanh(self.x @ self.trunk.T)

    def losses(self, zs=None) -> list[Tensor]:
        z = self.features() if zs is None else None
        return [
            ((z if zs is None else zs[k]) @ head - self.y[:, k]).square().mean()
            for k, head in enumerate(self.heads)
        ]

    def named(self) -> dict[str, Tensor]:
        return {f"t{k}": loss for k, loss in enumerate(self.losses())}

    def jacobian(self) -> Tensor:
        return torch.stack(
            [
                torch.autograd.grad(loss, self.trunk, retain_graph=True)[0].reshape(-1)
                for loss in self.losses()
            ]
        )


def close(got, wanted, rtol=1e-9):
    torch.testing.assert_close(got, wanted, rtol=rtol, atol=1e-12)


def test_list_and_mapping_and_function_agree():
    grads = []
    for call in (
        lambda m: MultiTaskBackward(UPGrad())(m.losses()),
        lambda m: MultiTaskBackward(UPGrad())(m.named()),
        lambda m: multitask_backward(m.named(), UPGrad()),
        lambda m: multitask_backward(m.losses(), UPGrad(), shared=[m.trunk]),
    ):
        model = Small()
        call(model)
        grads.append(model.trunk.grad)
    for grad in grads[1:]:
        assert torch.equal(grad, grads[0])


def test_order_of_tasks_does_not_matter():
    here, there = Small(), Small()
    one = MultiTaskBackward(UPGrad())(here.losses())
    two = MultiTaskBackward(UPGrad())(there.losses()[::-1])
    close(two.weights.flip(0), one.weights)
    close(there.trunk.grad, here.trunk.grad)


def test_adds_to_gradients_that_are_there():
    model = Small()
    step = MultiTaskBackward(UPGrad())
    step(model.losses())
    once = [p.grad.clone() for p in model.parameters()]
    step(model.losses())
    for parameter, first in zip(model.parameters(), once, strict=True):
        close(parameter.grad, 2 * first)


@pytest.mark.parametrize("at", ["parameters", "representation"])
def test_gradients_of_earlier_updates_are_not_overwritten(at):
    """The buffer persists; `.grad` must not point into it."""
    model = Small()
    step = MultiTaskBackward(UPGrad(), at=at)

    def update():
        z = model.features()
        losses = model.losses([z] * 3)
        step(losses, taps=[z] if at == "representation" else [])

    update()
    kept = [p.grad for p in model.parameters()]
    copies = [g.clone() for g in kept]
    model.zero_grad(set_to_none=True)
    with torch.no_grad():
        model.trunk.add_(1.0)
    update()
    for grad, copy in zip(kept, copies, strict=True):
        assert torch.equal(grad, copy)


def test_second_update_reuses_the_buffer():
    model = Small()
    step = MultiTaskBackward(UPGrad())
    step(model.losses())
    rows = step._parameters.rows
    where = rows.matrix.data_ptr()
    step(model.losses())
    assert rows.matrix.data_ptr() == where
    close(rows.matrix, model.jacobian())


def test_nothing_steps():
    model = Small()
    before = [p.detach().clone() for p in model.parameters()]
    MultiTaskBackward(UPGrad())(model.losses())
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("method", [UPGrad, PCGrad, GradDrop, MoCo, DBMTL])
def test_global_random_state_is_untouched(method):
    model = Small()
    losses = model.losses()
    state = torch.get_rng_state()
    MultiTaskBackward(method())(losses)
    assert torch.equal(torch.get_rng_state(), state)


class TestAbsentTasks:
    @pytest.mark.parametrize("update", ["assembled", "backward"])
    def test_equal_the_smaller_problem(self, update):
        model = Small()
        step = MultiTaskBackward(UPGrad(), update=update)
        step(model.losses())  # the buffer holds a row for everybody
        model.zero_grad(set_to_none=True)
        losses: list[Tensor | None] = list(model.losses())
        losses[1] = None
        report = step(losses)
        assert report.present.tolist() == [True, False, True]
        close(report.weights[[0, 2]], UPGrad()(_gram(model.jacobian()[[0, 2]])))
        assert report.weights[1] == 0
        close(model.trunk.grad.reshape(-1), report.weights @ model.jacobian())
        assert model.heads[1].grad is None

    def test_without_votes_at_the_representation(self):
        model = Small()
        z = model.features()
        losses = [model.losses([z] * 3)[0], None, model.losses([z] * 3)[2]]
        report = MultiTaskBackward(MGDA(), at="representation")(losses, taps=[z])
        assert report.weights[1] == 0
        close(report.weights.sum(), torch.tensor(1.0, dtype=torch.float64))

    def test_all_absent(self):
        report = MultiTaskBackward(UPGrad())([None, None])
        assert report.weights.tolist() == [0, 0]
        assert not report.present.any()
        assert "no-tasks" in report.flags

    def test_loss_level(self):
        model = Small()
        losses = [model.losses()[0], None, model.losses()[2]]
        report = MultiTaskBackward(EqualWeights(3))(losses)
        close(report.weights, torch.tensor([0.5, 0, 0.5], dtype=torch.float64))

    def test_state_does_not_move(self):
        method = MoCo()
        model = Small()
        step = MultiTaskBackward(method)
        step(model.losses())
        before = method.tracked.clone()
        step([model.losses()[0], None, model.losses()[2]])
        assert torch.equal(method.tracked[1], before[1])
        assert not torch.equal(method.tracked[0], before[0])


def _gram(rows: Tensor) -> Tensor:
    return rows @ rows.T


def test_zero_gradient_of_a_task():
    model = Small()
    losses = model.losses()
    losses[1] = 0.0 * losses[1]
    report = MultiTaskBackward(UPGrad())(losses)
    assert torch.isfinite(report.weights).all()
    assert report.gramian[1].abs().sum() == 0


@pytest.mark.parametrize("update", ["assembled", "backward"])
@pytest.mark.parametrize("at", ["parameters", "representation"])
def test_a_loss_that_is_not_finite_is_not_hidden(at, update):
    model = Small()
    z = model.features()
    losses = model.losses([z] * 3)
    losses[2] = losses[2] * torch.nan
    step = MultiTaskBackward(UPGrad(), at=at, update=update)
    report = step(losses, taps=[z] if at == "representation" else [])
    assert torch.isnan(report.weights).all()
    assert "non-finite" in report.flags
    assert not torch.isfinite(model.trunk.grad).any()


@pytest.mark.parametrize("scale", [2.0**16, torch.tensor(2.0**16)])
@pytest.mark.parametrize("method", [UPGrad, GradDrop, MoCo, Sum, lambda: FixedWeights([1, 2, 3])])
def test_scale_reaches_gradients_but_not_methods(method, scale):
    plain, scaled = Small(), Small()
    wanted = MultiTaskBackward(method())(plain.losses(), penalty=plain.trunk.sum())
    report = MultiTaskBackward(method())(scaled.losses(), penalty=scaled.trunk.sum(), scale=scale)
    torch.testing.assert_close(report.weights, wanted.weights, equal_nan=True)
    if wanted.gramian is not None:
        close(report.gramian, wanted.gramian)
    for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
        close(other.grad, 2.0**16 * one.grad)


def test_gradients_in_half_precision_are_compared_in_float32():
    model = Small(kind=torch.bfloat16)
    report = MultiTaskBackward(UPGrad())(model.losses())
    assert model.trunk.grad.dtype == torch.bfloat16
    assert report.gramian.dtype == torch.float64
    close(report.gramian, _gram(model.jacobian().double()), rtol=1e-6)


@pytest.mark.parametrize("precision", ["medium", "highest"])
def test_products_ignore_reduced_precision_modes(precision):
    before = torch.get_float32_matmul_precision()
    model = Small(kind=torch.float32)
    try:
        torch.set_float32_matmul_precision(precision)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            with torch.autocast("cpu", enabled=False):
                losses, jacobian = model.losses(), model.jacobian()
            report = MultiTaskBackward(UPGrad())(losses)
    finally:
        torch.set_float32_matmul_precision(before)
    close(report.gramian, _gram(jacobian.double()), rtol=1e-6)
    close(model.trunk.grad.reshape(-1), report.weights @ jacobian, rtol=1e-5)


@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_range_of_float32_does_not_limit_the_gramian(size):
    """Mutation: products in float32 would be 0 or inf."""
    w = torch.ones(3, requires_grad=True)
    rows = torch.tensor([[1.0, 2.0, 0.0], [-1.0, 1.0, 1.0]]) * size
    report = MultiTaskBackward(MGDA())([w @ rows[0], w @ rows[1]])
    close(report.gramian, _gram(rows.double()), rtol=1e-6)
    wrong = rows @ rows.T
    assert not wrong.any() or not torch.isfinite(wrong).any()


def test_penalty_is_added_once_whatever_the_weights():
    for at in ("parameters", "representation"):
        for method in (UPGrad(), Sum(), EqualWeights(3)):
            grads = []
            for with_penalty in (False, True):
                model = Small()
                z = model.features()
                penalty = 0.5 * z.square().sum() + model.heads[0].sum() if with_penalty else None
                step = MultiTaskBackward(method, at=at)
                taps = [z] if at == "representation" else []
                step(model.losses([z] * 3), taps=taps, penalty=penalty)
                grads.append([p.grad for p in model.parameters()])
            alone = Small()
            (0.5 * alone.features().square().sum() + alone.heads[0].sum()).backward()
            for without, total, parameter in zip(*grads, alone.parameters(), strict=True):
                added = torch.zeros_like(total) if parameter.grad is None else parameter.grad
                close(total, without + added)


class TestHooks:
    def test_run_once_on_the_final_gradient(self):
        for options in ({}, {"update": "assembled"}):
            model, seen = Small(), []
            model.trunk.register_hook(lambda g, seen=seen: seen.append(g) or 2 * g)
            report = MultiTaskBackward(UPGrad(), **options)(model.losses())
            assert ("one-backward" in report.flags) == (not options)
            fresh = Small()
            wanted = (report.weights @ fresh.jacobian()).view(4, 3)
            assert len(seen) == 1
            close(seen[0], wanted)
            close(model.trunk.grad, 2 * wanted)

    def test_after_accumulation(self):
        model, calls = Small(), []
        model.trunk.register_post_accumulate_grad_hook(lambda p: calls.append(p.grad.clone()))
        report = MultiTaskBackward(UPGrad())(model.losses())
        assert "one-backward" in report.flags
        assert len(calls) == 1

    def test_of_heads_and_coordinate_methods(self):
        model, calls = Small(), []
        model.heads[0].register_hook(lambda g: calls.append("head"))
        model.trunk.register_hook(lambda g: calls.append("trunk"))
        MultiTaskBackward(GradDrop())(model.losses())
        assert sorted(calls) == ["head", "trunk"]

    def test_survive_an_error(self):
        model = Small()
        model.trunk.register_hook(lambda g: g)
        step = MultiTaskBackward(UPGrad(), shared=[model.trunk])
        losses = model.losses()
        losses[0].backward()  # frees the graph
        with pytest.raises(RuntimeError):
            step(losses)
        assert model.trunk._backward_hooks


class TestBudget:
    def test_warns_once_and_gives_the_same(self):
        model, reference = Small(), Small()
        wanted = MultiTaskBackward(UPGrad())(reference.losses())
        extra = nn.Parameter(torch.ones(5, dtype=torch.float64))
        step = MultiTaskBackward(UPGrad(), max_gradient_memory=3 * 8 * 12)
        for attempt in range(2):
            model.zero_grad()
            losses = [loss + 0.0 * extra.sum() for loss in model.losses()]
            if attempt == 0:
                with pytest.warns(PolytaskWarning, match="one more backward pass"):
                    report = step(losses)
            else:
                report = step(losses)
        assert "over-memory-budget" in report.flags
        close(report.weights, wanted.weights)
        close(model.trunk.grad, reference.trunk.grad)
        assert step._parameters.rows._memory.numel() <= 3 * 12

    @pytest.mark.parametrize(
        ("method", "options"),
        [(GradDrop, {}), (UPGrad, {"update": "assembled"}), (UPGrad, {}), (MGDA, {"at": "repr"})],
    )
    def test_what_does_not_fit_is_refused(self, method, options):
        model = Small()
        z = model.features()
        taps = []
        if "at" in options:
            options, taps = {"at": "representation"}, [z]
        step = MultiTaskBackward(method(), max_gradient_memory=10, **options)
        with pytest.raises(Unsupported, match="max_gradient_memory"):
            step(model.losses([z] * 3), taps=taps)


class TestRefusals:
    def test_stacked_vector_costs_squared_head_passes(self):
        model = Small()
        with pytest.raises(Unsupported, match="K² head passes"):
            MultiTaskBackward(UPGrad())(torch.stack(model.losses()))
        for entries in (torch.stack(model.losses()).unbind(), list(torch.stack(model.losses()))):
            with pytest.raises(Unsupported, match="K² head passes"):
                MultiTaskBackward(UPGrad())(list(entries))

    def test_stacked_vector_is_welcome_at_the_loss_level(self):
        one, two = Small(), Small()
        MultiTaskBackward(EqualWeights(3))(torch.stack(one.losses()))
        MultiTaskBackward(EqualWeights(3))(two.losses())
        close(one.trunk.grad, two.trunk.grad)

    @pytest.mark.parametrize("method", [IMTLG, GradDrop])
    def test_weighted_heads_need_weights_that_are_never_negative(self, method):
        with pytest.raises(Unsupported, match="heads"):
            MultiTaskBackward(method(), heads="weighted")

    def test_coordinate_methods_have_no_weighted_backward(self):
        with pytest.raises(Unsupported, match="update"):
            MultiTaskBackward(GradDrop(), update="backward")

    def test_an_objective_of_losses_shares_nothing_in_particular(self):
        with pytest.raises(Unsupported, match="`shared` must be None with EqualWeights"):
            MultiTaskBackward(EqualWeights(3), shared=[Small().trunk])

    def test_methods_that_remember_gradients_of_rows(self):
        with pytest.raises(Unsupported, match="remembers"):
            MultiTaskBackward(MoCo(), at="representation")

    def test_another_model(self):
        step = MultiTaskBackward(UPGrad())
        step(Small().losses())
        with pytest.raises(InvalidArgument, match="another model"):
            step(Small().losses())

    def test_another_order_of_tasks(self):
        step = MultiTaskBackward(UPGrad())
        model = Small()
        step(model.named())
        with pytest.raises(InvalidArgument, match="same order"):
            step(dict(reversed(model.named().items())))
        with pytest.raises(InvalidArgument, match="same order"):
            step(model.losses()[:2])

    def test_losses_that_are_none(self):
        model = Small()
        step = MultiTaskBackward(UPGrad())
        with pytest.raises(InvalidArgument, match="scalar"):
            step([model.features(), model.losses()[0]])
        with pytest.raises(InvalidArgument, match="trainable parameter"):
            step([model.losses()[0].detach(), model.losses()[1]])
        with pytest.raises(InvalidArgument, match="at least one"):
            step([])

    def test_nothing_shared(self):
        a, b = (torch.ones(2, requires_grad=True) for _ in range(2))
        with pytest.raises(InvalidArgument, match="two or more"):
            MultiTaskBackward(UPGrad())([a.sum(), b.sum()])
        with pytest.raises(InvalidArgument, match="shared"):
            MultiTaskBackward(UPGrad(), shared=[])

    def test_reentrant_checkpoints(self):
        model = Small()
        layer = nn.Linear(3, 3).double()
        x = model.x.clone().requires_grad_()
        z = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=True)
        with pytest.raises(Unsupported, match="use_reentrant=False"):
            MultiTaskBackward(UPGrad())([z.sum(), z.square().sum()])

    def test_sparse_gradients(self):
        table = nn.Embedding(4, 2, sparse=True)
        z = table(torch.tensor([0, 1]))
        with pytest.raises(Unsupported, match="sparse"):
            MultiTaskBackward(UPGrad())([z.sum(), z.square().sum()])

    def test_not_a_method(self):
        with pytest.raises(InvalidArgument, match="balance"):
            MultiTaskBackward("upgrad")


class TestTaps:
    def test_must_be_given(self):
        with pytest.raises(InvalidArgument, match="taps"):
            MultiTaskBackward(UPGrad(), at="representation")(Small().losses())
        with pytest.raises(InvalidArgument, match="representation"):
            MultiTaskBackward(UPGrad())(Small().losses(), taps=[Small().features()])

    def test_must_lie_on_the_way(self):
        model, multi = Small(), MultiTaskBackward(UPGrad(), at="representation")
        with pytest.raises(InvalidArgument, match="very tensors"):
            multi(model.losses(), taps=[model.features()])

    def test_must_not_depend_on_each_other(self):
        model = Small()
        z = model.features()
        later = 2.0 * z
        step = MultiTaskBackward(UPGrad(), at="representation")
        with pytest.raises(InvalidArgument, match="depend on each other"):
            step(model.losses([later] * 3), taps=[z, later])

    def test_what_goes_around_them_is_refused_not_lost(self):
        """Mutation: summed trunk gradients without the bypass are not those of the losses."""
        model = Small()
        z = model.features()
        losses = [loss + model.trunk.square().sum() for loss in model.losses([z] * 3)]
        step = MultiTaskBackward(UPGrad(), at="representation")
        with pytest.raises(Unsupported, match="before and behind"):
            step(losses, taps=[z])
        bias = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        losses = [loss + bias.sum() for loss in model.losses([z] * 3)]
        with pytest.raises(Unsupported, match="not behind the taps"):
            step(losses, taps=[z])

    def test_several(self):
        model = Small()
        first, second = model.features()[:4], model.features()[4:]
        losses = model.losses([torch.cat([first, second])] * 3)
        report = MultiTaskBackward(UPGrad(), at="representation")(losses, taps=[first, second])
        z = model.features()
        fresh = model.losses([z] * 3)
        rows = [torch.autograd.grad(loss, z, retain_graph=True)[0].flatten() for loss in fresh]
        close(report.gramian, _gram(torch.stack(rows)))

    def test_rows_are_not_summed_before_the_product(self):
        """Mutation: gradients summed over the batch have other inner products."""
        model = Small()
        z = model.features()
        report = MultiTaskBackward(UPGrad(), at="representation")(model.losses([z] * 3), taps=[z])
        z = model.features()
        fresh = model.losses([z] * 3)
        rows = [torch.autograd.grad(loss, z, retain_graph=True)[0].sum(0) for loss in fresh]
        assert (report.gramian - _gram(torch.stack(rows))).abs().max() > 1e-3


def test_shared_names_what_is_measured_and_the_rest_is_ordinary():
    def with_scaling() -> tuple[Small, Tensor]:
        model, scaling = Small(), nn.Parameter(torch.ones(3, dtype=torch.float64))
        model.x = model.x * scaling
        return model, scaling

    model, scaling = with_scaling()
    report = MultiTaskBackward(UPGrad(), shared=[model.trunk])(model.losses())
    close(report.gramian, _gram(Small().jacobian()))
    close(model.trunk.grad.reshape(-1), report.weights @ Small().jacobian())
    fresh, other = with_scaling()
    sum(fresh.losses()).backward()
    close(scaling.grad, other.grad)


def test_one_task():
    model = Small(1)
    report = MultiTaskBackward(UPGrad())(model.losses())
    fresh = Small(1)
    fresh.losses()[0].backward()
    close(report.weights, torch.ones(1, dtype=torch.float64))
    close(model.trunk.grad, fresh.trunk.grad)


def test_a_task_that_comes_later_may_share_more():
    model = Small()
    step = MultiTaskBackward(UPGrad())
    side = nn.Parameter(torch.ones(7, dtype=torch.float64))
    losses = model.losses()
    step([losses[0], losses[1] + side.sum(), None])
    losses = model.losses()
    report = step([losses[0], losses[1] + side.sum(), losses[2] + (2 * side).sum()])
    rows = torch.cat([model.jacobian(), torch.zeros(3, 7, dtype=torch.float64)], 1)
    rows[1, 12:], rows[2, 12:] = 1.0, 2.0
    close(report.gramian, _gram(rows))


@pytest.mark.parametrize(
    "balance",
    [
        lambda: EveryN(UPGrad(), n=2),
        lambda: EveryN(ClipTaskGradients(UPGrad(), 0.5), n=2),
        lambda: MovingAverageWeights(EveryN(EqualizeNorms(MGDA()), n=2)),
    ],
)
def test_weights_reused_in_between_cost_one_backward(balance):
    model = Small()
    step = MultiTaskBackward(balance())
    first = step(model.losses())
    model.zero_grad()
    second = step(model.losses())
    assert {"reused", "one-backward"} <= second.flags
    close(second.weights, first.weights)
    close(model.trunk.grad.reshape(-1), first.weights @ model.jacobian())


def test_loss_balancer_with_a_scalar_of_its_own():
    class Learned(LossBalancer):
        def __init__(self):
            super().__init__()
            self.num_tasks = 3
            self.s = nn.Parameter(torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64))

        def objective(self, losses, present, counts):
            return (torch.exp(-self.s) * losses + self.s).sum()

    model, balance = Small(), Learned()
    report = MultiTaskBackward(balance)(model.losses(), scale=4.0)
    fresh, other = Small(), Learned()
    objective = other(torch.stack(fresh.losses()))
    (4.0 * objective).backward()
    close(report.weights, torch.exp(-balance.s.detach()))
    close(balance.s.grad, other.s.grad)
    for one, two in zip(model.parameters(), fresh.parameters(), strict=True):
        close(one.grad, two.grad)


@pytest.mark.parametrize("balance", [FixedWeights([2.0]), EqualWeights(1), EqualWeights(4)])
def test_loss_balancer_for_another_number_of_tasks(balance):
    """One of a single task would be spread over all by broadcasting."""
    with pytest.raises(InvalidArgument, match="`balance` must be made for 3 tasks; got"):
        MultiTaskBackward(balance)(Small().losses())
    with pytest.raises(InvalidArgument, match="`balance` must be made for 3 tasks; got"):
        MultiTaskBackward(balance).accumulate(Small().losses(), 3 * [7.0])


@pytest.mark.parametrize("window", [False, True])
def test_without_labels_no_loss_balancer_is_asked(window):
    """Its state may live on another device than losses that do not exist."""
    balance = RandomWeights(3)
    before = balance.random.state.clone()
    step = MultiTaskBackward(balance)
    if window:
        step.accumulate([None] * 3, [0.0] * 3)
    report = step.finish() if window else step([None] * 3)
    assert report.weights.tolist() == [0.0, 0.0, 0.0]
    assert "no-tasks" in report.flags
    assert torch.equal(balance.random.state, before)


def test_a_window_may_begin_without_labels():
    model = Small()
    step = MultiTaskBackward(UPGrad())
    counts = 3 * [torch.tensor(7.0, dtype=torch.float64)]
    step.accumulate([None] * 3, counts)
    step.accumulate([7.0 * loss for loss in model.losses()], counts)
    report = step.finish()
    close(report.weights, MultiTaskBackward(UPGrad())(model.losses()).weights)


def test_surgery_after_one_summed_backward_is_something_else():
    """Mutation: PCGrad on the per-parameter parts of a summed gradient changes nothing."""
    model = Small()
    losses = model.losses()
    losses[0] = -losses[0]  # conflict
    report = MultiTaskBackward(PCGrad())(losses)
    fresh = Small()
    losses = fresh.losses()
    (losses[1] + losses[2] - losses[0]).backward()
    assert (report.weights - 1).abs().max() > 1e-3
    assert (model.trunk.grad - fresh.trunk.grad).abs().max() > 1e-3


class Spy(GramianAggregator):
    """Remembers what it was told."""

    needs_losses = True

    def weigh(self, problem):
        self.problem = problem
        return UPGrad().weigh(problem)


def test_methods_see_unscaled_losses_and_the_precision_of_the_gradients():
    for kind in (torch.float32, torch.float64):
        method, model = Spy(), Small(kind=kind)
        losses = model.losses()
        MultiTaskBackward(method)(losses, scale=8.0)
        close(torch.tensor(method.problem.losses), torch.stack(losses).detach().double())
        assert method.problem.precision == torch.finfo(kind).eps


class TestBranch:
    def test_stacked_heads_of_one_call(self):
        """What the graph cannot tell: entry k of the loss vector depends on copy k alone."""
        for options in ({}, {"update": "backward"}, {"at": "representation"}):
            model = Small()
            weight = nn.Parameter(torch.stack(list(model.heads)).detach())
            copies = branch(model.features(), ["t0", "t1", "t2"])
            stacked = torch.stack(list(copies.values()))
            outputs = torch.einsum("kbd,kd->bk", stacked, weight)
            vector = (outputs - model.y).square().mean(0)
            losses = dict(zip(copies, vector.unbind(), strict=True))
            report = MultiTaskBackward(UPGrad(), **options)(losses)
            fresh = Small()
            if "at" not in options:
                close(report.gramian, _gram(fresh.jacobian()))
            sum(fresh.losses()).backward()
            close(weight.grad, torch.stack([head.grad for head in fresh.heads]))
            close(model.trunk.grad.reshape(-1), report.weights @ Small().jacobian())

    def test_alone_it_changes_nothing(self):
        model, fresh = Small(), Small()
        copies = branch(model.features(), ["a", "b", "c"])
        sum(model.losses(list(copies.values()))).backward()
        sum(fresh.losses()).backward()
        close(model.trunk.grad, fresh.trunk.grad)

    def test_weights_do_not_outlive_the_update(self):
        model = Small()
        copies = list(branch(model.features(), ["0", "1", "2"]).values())
        losses = model.losses(copies)
        MultiTaskBackward(FixedWeights([1.0, 2.0, 5.0]))(losses, penalty=losses[0] * 0)
        holder = copies[0].grad_fn.polytask_branch
        assert holder.weights is None

    def test_names_must_fit(self):
        model = Small()
        copies = list(branch(model.features(), ["x", "y", "z"]).values())
        losses = model.losses(copies)
        with pytest.raises(InvalidArgument, match="every task of the branch"):
            MultiTaskBackward(UPGrad())({"x": losses[0], "y": losses[1]})
        with pytest.raises(InvalidArgument, match="as many as"):
            MultiTaskBackward(UPGrad())(losses[:2])
        with pytest.raises(InvalidArgument, match="different names"):
            branch(model.features(), ["x", "x"])

    def test_a_parameter_on_both_sides_is_refused(self):
        model = Small()
        copies = list(branch(model.features(), ["0", "1", "2"]).values())
        losses = [loss + model.trunk.sum() for loss in model.losses(copies)]
        with pytest.raises(Unsupported, match="before and behind"):
            MultiTaskBackward(UPGrad())(losses)
        with pytest.raises(Unsupported, match="shared"):
            MultiTaskBackward(UPGrad(), shared=[model.trunk])(losses)

    def test_copies_cannot_be_changed_in_place(self):
        copies = branch(Small().features(), ["a", "b"])
        with pytest.raises(RuntimeError, match="inplace"):
            copies["a"].relu_()

    def test_absent_task(self):
        model = Small()
        copies = list(branch(model.features(), ["0", "1", "2"]).values())
        losses = model.losses(copies)
        report = MultiTaskBackward(UPGrad())([losses[0], None, losses[2]])
        close(report.weights[[0, 2]], UPGrad()(_gram(Small().jacobian()[[0, 2]])))
        assert model.heads[1].grad is None
