"""SAM, EMA, SWA and renewed running statistics against closed forms, a second SAM, and torch."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from polytask.data.batch import Batch
from polytask.regularization.update import SAM
from polytask.regularization.weights import EMA, SWA, WeightAverage, update_batch_norm

DEVIATION = 1e-12


def distance(first, second) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))


# SAM ---------------------------------------------------------------------------------------------

CLOSED_FORM = (0.8987873218748184, -0.5805971499970933)
"""w = (1, −1) on the quadratic ½ wᵀ diag(1, 4) w: g = (1, −4), then A (w + ρ g/‖g‖)."""


def sam_on_the_quadratic(climb) -> list[float]:
    weight = nn.Parameter(torch.tensor([1.0, -1.0], dtype=torch.float64))
    curvature = torch.tensor([1.0, 4.0], dtype=torch.float64)
    optimizer = SGD([weight], lr=0.1)

    def backward() -> None:
        optimizer.zero_grad()
        (0.5 * (curvature * weight.square()).sum()).backward()

    backward()
    restore = climb([weight])
    backward()
    restore()
    optimizer.step()
    return weight.tolist()


def polytask_climb(parameters):
    sam = SAM(0.05)
    saved = sam.climb_(parameters)
    return lambda: sam.restore_(saved)


def test_sam_on_a_quadratic_is_its_closed_form():
    assert sam_on_the_quadratic(polytask_climb) == pytest.approx(CLOSED_FORM, abs=DEVIATION)


@pytest.mark.parametrize("mutant", ["descends", "without norm", "step from the worst point"])
def test_the_closed_form_refuses_mutants(mutant):
    def climb(parameters):
        kept = [p.detach().clone() for p in parameters]
        norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in parameters]))
        factor = {"descends": -0.05 / norm, "without norm": 0.05}.get(mutant, 0.05 / norm)
        with torch.no_grad():
            for p in parameters:
                p.add_(factor * p.grad)

        def restore() -> None:
            if mutant != "step from the worst point":
                with torch.no_grad():
                    for p, value in zip(parameters, kept, strict=True):
                        p.copy_(value)

        return restore

    assert sam_on_the_quadratic(climb) != pytest.approx(CLOSED_FORM, abs=1e-6)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def rows(count: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return inputs, torch.randn(count, 3, generator=generator, dtype=torch.float64)


def trained_with_polytask(steps: int = 20) -> list[Tensor]:
    net, (inputs, targets), sam = network(), rows(), SAM(0.05)
    parameters = list(net.parameters())
    optimizer = SGD(parameters, lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.mse_loss(net(inputs), targets).backward()
        saved = sam.climb_(parameters)
        optimizer.zero_grad()
        functional.mse_loss(net(inputs), targets).backward()
        sam.restore_(saved)
        optimizer.step()
    return [p.detach() for p in parameters]


def trained_by_hand(*, per_tensor: bool = False, steps: int = 20) -> list[Tensor]:
    """Two passes by `torch.func` on plain tensors, with a momentum of their own."""
    net, (inputs, targets) = network(), rows()
    names = [name for name, _ in net.named_parameters()]
    weights = {name: p.detach().clone() for name, p in net.named_parameters()}
    speeds = {name: torch.zeros_like(w) for name, w in weights.items()}

    def loss(values: dict[str, Tensor]) -> Tensor:
        return ((torch.func.functional_call(net, values, inputs) - targets) ** 2).mean()

    gradient = torch.func.grad(loss)
    for _ in range(steps):
        first = gradient(weights)
        whole = sum(float(first[name].square().sum()) for name in names) ** 0.5
        worst = {}
        for name in names:
            own = float(first[name].square().sum()) ** 0.5
            worst[name] = weights[name] + 0.05 * first[name] / (own if per_tensor else whole)
        second = gradient(worst)
        for name in names:
            speeds[name] = 0.9 * speeds[name] + second[name]
            weights[name] = weights[name] - 0.1 * speeds[name]
    return [weights[name] for name in names]


def test_twenty_steps_of_sam_with_momentum_equal_a_second_implementation():
    assert distance(trained_with_polytask(), trained_by_hand()) < DEVIATION


def test_a_norm_per_tensor_is_another_method():
    assert distance(trained_with_polytask(), trained_by_hand(per_tensor=True)) > 1e-4


# EMA and SWA -------------------------------------------------------------------------------------


def iterates(feed, steps: int = 30) -> list[list[Tensor]]:
    """Trains; calls ``feed(model, update, fraction)`` after every update; returns all weights."""
    net, (inputs, targets) = network(), rows()
    optimizer = SGD(net.parameters(), lr=0.3)
    seen = []
    feed(net, 0, 0.0)
    for update in range(1, steps + 1):
        optimizer.zero_grad()
        functional.mse_loss(net(inputs), targets).backward()
        optimizer.step()
        seen.append([p.detach().clone() for p in net.parameters()])
        feed(net, update, update / steps)
    return seen


def averaged(average: WeightAverage) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Averaged weights, and every iterate."""
    models = []

    def feed(model: nn.Module, update: int, fraction: float) -> None:
        if update == 0:
            average.start(model)
            models.append(model)
        else:
            average.update(model, update, fraction)

    seen = iterates(feed)
    with average.swapped(models[0]):
        found = [p.detach().clone() for p in models[0].parameters()]
    assert distance([p.detach() for p in models[0].parameters()], seen[-1]) == 0
    return found, seen


def averaged_by_torch(first: int = 1, **options) -> list[Tensor]:
    """Torch's own, fed with the updates from `first` on."""
    held: list[AveragedModel] = []

    def feed(model: nn.Module, update: int, fraction: float) -> None:
        if update == 0:
            held.append(AveragedModel(model, **options))
        elif update >= first:
            held[0].update_parameters(model)

    iterates(feed)
    return [p.detach() for p in held[0].module.parameters()]


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_ema_without_warmup_equals_torch(decay):
    found, _ = averaged(EMA(decay, warmup=False))
    wanted = averaged_by_torch(multi_avg_fn=get_ema_multi_avg_fn(decay))
    assert distance(found, wanted) < DEVIATION


@pytest.mark.parametrize("mutant", ["starts at the initial weights", "decay swapped", "warm-up"])
def test_torch_tells_other_moving_averages_apart(mutant):
    found, seen = averaged(EMA(0.9, warmup=mutant == "warm-up"))
    if mutant != "warm-up":
        share = 0.9 if mutant == "decay swapped" else 0.1
        initial = [p.detach().clone() for p in network().parameters()]
        found = initial if mutant == "starts at the initial weights" else seen[0]
        for weights in seen if found is initial else seen[1:]:
            found = [(1 - share) * a + share * w for a, w in zip(found, weights, strict=True)]
    wanted = averaged_by_torch(multi_avg_fn=get_ema_multi_avg_fn(0.9))
    assert distance(found, wanted) > 1e-4


def test_warmup_is_the_smaller_of_both_decays():
    found, seen = averaged(EMA(0.6))
    wanted, early = seen[0], 0
    for taken, weights in enumerate(seen[1:], 1):
        decay = min(0.6, (1 + taken) / (10 + taken))
        early += decay < 0.6
        wanted = [decay * a + (1 - decay) * w for a, w in zip(wanted, weights, strict=True)]
    assert early == 12  # both sides of the minimum occur
    assert distance(found, wanted) < DEVIATION


def test_warmup_reaches_where_a_long_memory_alone_does_not():
    """The trap: with 0.999 and no warm-up, 82 % of the first update is left after 200 more."""
    model = nn.Linear(1, 1, bias=False).double()
    left = {}
    for warmup in (False, True):
        average = EMA(0.999, warmup=warmup)
        average.start(model)
        for update in range(201):
            model.weight.data.fill_(float(update == 0))
            average.update(model, update + 1, 0.0)
        with average.swapped(model):
            left[warmup] = model.weight.item()
    assert left[False] == pytest.approx(0.999**200, abs=DEVIATION)
    assert left[True] < 1e-6


@pytest.mark.parametrize("start", [0.0, 0.5, 0.75])
def test_swa_is_the_mean_of_the_iterates_and_torchs(start):
    found, seen = averaged(SWA(start))
    first = int(start * 30)
    mean = [torch.stack(pieces).mean(0) for pieces in zip(*seen[first:], strict=True)]
    assert distance(found, mean) < DEVIATION
    assert distance(found, averaged_by_torch(first=first + 1)) < DEVIATION
    one_more = [torch.stack(p).mean(0) for p in zip(*seen[first + 1 :], strict=True)]
    assert distance(found, one_more) > 1e-5  # the mean begins at this very update


def test_buffers_are_left_to_the_model():
    """As torch with ``use_buffers=False``: an average of running statistics fits no weights."""
    model = nn.BatchNorm1d(2)
    average = EMA(0.5, warmup=False)
    average.start(model)
    for update in range(1, 4):
        model(torch.randn(8, 2) + update)
        average.update(model, update, 0.0)
    own = copy.deepcopy(dict(model.named_buffers()))
    with average.swapped(model):
        inside = dict(model.named_buffers())
        assert all(torch.equal(inside[name], own[name]) for name in own)
    assert sorted(average.state_dict()["average"]) == ["bias", "weight"]


# Running statistics ------------------------------------------------------------------------------


def normalised(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=0.3), nn.ReLU(),
        nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 1),
    )  # fmt: skip


def pieces(sizes=(16, 16, 7)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [3 + 2 * torch.randn(size, 4, generator=generator) for size in sizes]


def batches_of(inputs) -> list[Batch]:
    return [Batch(piece, {}, {}, None, torch.arange(len(piece))) for piece in inputs]


def statistics_of(model: nn.Module) -> list[Tensor]:
    return [buffer.double() for buffer in model.buffers()]


def test_running_statistics_equal_torchs():
    model, peer = normalised(), normalised()
    for net in (model, peer):
        net(torch.randn(8, 4))  # old statistics that have to go
    update_batch_norm(model, batches_of(pieces()))
    update_bn(pieces(), peer)
    assert distance(statistics_of(model), statistics_of(peer)) < 1e-6


def test_statistics_that_only_move_on_are_others():
    """Without the reset, or with the layer's own momentum, old weights shine through."""
    wanted = normalised()
    update_bn(pieces(), wanted)
    moved = normalised().train()
    for piece in pieces():
        moved(piece)
    assert distance(statistics_of(moved), statistics_of(wanted)) > 1e-2
