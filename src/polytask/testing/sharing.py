"""The laws of sharing architectures."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

from polytask.optim.roles import ParameterInfo, Role
from polytask.sharing.base import SharingArchitecture

ROWS = 7
NORMS = (0.8, 1.25)
"""Bounds of a representation's size at the start, as a multiple of what it should resemble."""


class SharingLaws:
    """What every `SharingArchitecture` obeys: the balancing methods rely on each of these.

    Subclass it in a test module and return a fresh, untrained instance from the fixture
    ``architecture`` and the width of its features from the fixture ``width``. The architecture is
    made float64 for the tests.

    `read_by_all` names submodules whose output every task reads (the shared experts of a level,
    the gate of the shared stream). `independent` says what the architecture should resemble
    before training, for those that start as separate networks.

    Example:
        >>> import pytest
        >>> from polytask.sharing import HardSharing
        >>> class TestHardSharing(SharingLaws):
        ...     @pytest.fixture
        ...     def architecture(self):
        ...         return HardSharing(["a", "b"], 4)
        ...
        ...     @pytest.fixture
        ...     def width(self):
        ...         return 4
    """

    read_by_all: tuple[str, ...] = ()

    def independent(
        self, architecture: SharingArchitecture, features: Tensor
    ) -> Mapping[str, Tensor] | None:
        """Task → the representation that it would have alone; None: no such promise."""
        return None

    def test_one_representation_per_task(
        self, architecture: SharingArchitecture, width: int
    ) -> None:
        """Every task has finite numbers of the declared width, also for a single row."""
        architecture = architecture.double().eval()
        many = architecture(_features(width))
        one = architecture(_features(width)[:1])
        assert many.representations, "no task has a representation"
        for task, representation in many.representations.items():
            assert representation.shape == (ROWS, architecture.width(task)), task
            assert torch.isfinite(representation).all(), task
            torch.testing.assert_close(one.representations[task], representation[:1])

    def test_a_task_does_not_depend_on_what_else_is_asked(
        self, architecture: SharingArchitecture, width: int
    ) -> None:
        """Asking for one task alone gives its numbers, and no other's."""
        architecture = _generic(architecture).eval()
        everything = architecture(_features(width)).representations
        for task, representation in everything.items():
            alone = architecture(_features(width), [task]).representations
            assert list(alone) == [task]
            torch.testing.assert_close(alone[task], representation, rtol=1e-12, atol=1e-12)

    def test_roles_are_what_gradients_find(
        self, architecture: SharingArchitecture, width: int
    ) -> None:
        """Every parameter is declared once, with the tasks whose gradients reach it."""
        architecture = _generic(architecture)
        declared = {row.name: row for row in architecture.roles()}
        existing = dict(architecture.named_parameters())
        assert len(declared) == len(architecture.roles()), "a parameter is declared twice"
        assert declared.keys() == existing.keys(), "declared and existing parameters differ"
        representations = architecture(_features(width)).representations
        reached: dict[str, set[str]] = {name: set() for name in existing}
        for task, representation in representations.items():
            found = _gradients(representation.square().sum(), existing)
            for name in found:
                reached[name].add(task)
        for name, row in declared.items():
            assert row.parameter is existing[name], f"{name} is another tensor"
            assert set(row.tasks) == reached[name], f"{name} is reached by {sorted(reached[name])}"

    def test_every_task_passes_through_a_tap(
        self, architecture: SharingArchitecture, width: int
    ) -> None:
        """The gradient of every task reaches a tap, where it is measured."""
        architecture = _generic(architecture)
        shared = architecture(_features(width).requires_grad_())
        assert shared.taps, "no tap is declared"
        assert all(tap.requires_grad for tap in shared.taps), "a tap is cut off from the graph"
        for task, representation in shared.representations.items():
            found = torch.autograd.grad(
                representation.square().sum(), shared.taps, retain_graph=True, allow_unused=True
            )
            assert any(g is not None and g.any() for g in found), f"{task} passes through no tap"

    def test_each_part_runs_once(self, architecture: SharingArchitecture, width: int) -> None:
        """What several tasks read is computed once, not once for each of them."""
        architecture = architecture.double().eval()
        calls: Counter[str] = Counter()
        for name, part in architecture.named_modules():
            if any(True for _ in part.parameters(recurse=False)):
                part.register_forward_hook(lambda *_, name=name: calls.update([name]))
        architecture(_features(width))
        often = sorted(name for name, count in calls.items() if count > 1)
        assert not often, f"computed more than once: {often}"

    def test_every_task_reads_what_all_share(
        self, architecture: SharingArchitecture, width: int
    ) -> None:
        """With its output set to zero, every representation is another."""
        if not self.read_by_all:
            pytest.skip("no part is declared as read by all")
        architecture = _generic(architecture).eval()
        before = architecture(_features(width)).representations
        for name in self.read_by_all:
            part = architecture.get_submodule(name)
            hook = part.register_forward_hook(lambda *found: torch.zeros_like(found[-1]))
            after = architecture(_features(width)).representations
            hook.remove()
            for task, representation in before.items():
                change = float((after[task] - representation).detach().abs().max())
                assert change > 1e-9, f"{task} does not read {name}"

    def test_evaluation_is_deterministic(
        self, architecture: SharingArchitecture, width: int
    ) -> None:
        """Two passes in eval mode are equal bit by bit: no noise, no mask, no statistics."""
        architecture = _generic(architecture).eval()
        first, second = (architecture(_features(width)).representations for _ in range(2))
        for task, representation in first.items():
            assert torch.equal(representation, second[task]), f"{task} changed between two passes"

    def test_forward_leaves_no_gradient(
        self, architecture: SharingArchitecture, width: int
    ) -> None:
        """No backward pass inside: gradients in place stay, and a pass without a graph works."""
        architecture = _generic(architecture).train()
        for parameter in architecture.parameters():
            parameter.grad = torch.ones_like(parameter)
        architecture(_features(width))
        for name, parameter in architecture.named_parameters():
            assert parameter.grad is not None, f"the gradient of {name} was removed"
            assert bool((parameter.grad == 1).all()), f"the gradient of {name} changed"
        with torch.no_grad():
            shared = architecture(_features(width))
        assert all(torch.isfinite(z).all() for z in shared.representations.values())

    def test_penalties_join_the_loss(self, architecture: SharingArchitecture, width: int) -> None:
        """Each penalty is a finite number with a gradient; if it reaches one task's gate, then
        those of all tasks, and in a tensor of all their gates every slice.
        """
        architecture = _generic(architecture).train()
        penalties = architecture(_features(width)).penalties
        if not penalties:
            pytest.skip("no penalty is returned")
        rows = architecture.roles()
        for name, penalty in penalties.items():
            assert penalty.shape == (), f"penalty {name} is no single number"
            assert torch.isfinite(penalty), f"penalty {name} is not finite"
            assert penalty.requires_grad, f"penalty {name} has no graph and never acts"
            found = _gradients(penalty, dict(architecture.named_parameters()))
            assert any(g.any() for g in found.values()), f"penalty {name} moves nothing"
            gates = _gate_gradients(rows, found)
            some = {task for task, moved in gates.items() if moved}
            assert some in (set(), set(gates)), f"penalty {name} counts only the gates of {some}"

    def test_usage_is_detached(self, architecture: SharingArchitecture, width: int) -> None:
        """Statistics keep no graph alive."""
        usage = _generic(architecture).train()(_features(width)).usage
        assert not any(statistic.requires_grad for statistic in usage.values())

    def test_starts_like_independent_networks(
        self, architecture: SharingArchitecture, width: int
    ) -> None:
        """Before training, sizes are those of separate networks (× 0.8 to 1.25), and the
        directions nearly so: mixing that multiplies activations would spoil a trained start.
        """
        architecture = architecture.double().eval()
        alone = self.independent(architecture, _features(width))
        if alone is None:
            pytest.skip("no resemblance at the start is declared")
        together = architecture(_features(width)).representations
        for task, representation in together.items():
            here, there = (z.detach().flatten() for z in (representation, alone[task]))
            norms = [float(torch.linalg.vector_norm(z)) for z in (here, there)]
            size = norms[0] / norms[1]
            assert NORMS[0] <= size <= NORMS[1], f"{task} starts at {size} times its size alone"
            cosine = float(here @ there) / (norms[0] * norms[1])
            assert cosine > 0.9, f"{task} starts in another direction: cosine {cosine}"

    def test_state_round_trip(self, architecture: SharingArchitecture, width: int) -> None:
        """A fresh instance with the loaded state computes the same numbers."""
        fresh = copy.deepcopy(architecture).double().eval()
        moved = _generic(architecture).train()
        moved(_features(width))  # whatever training moves is state, too
        moved.eval()
        fresh.load_state_dict(moved.state_dict(), strict=True)
        wanted, found = (a(_features(width)).representations for a in (moved, fresh))
        assert all(torch.equal(found[task], wanted[task]) for task in wanted)


def _features(width: int) -> Tensor:
    generator = torch.Generator().manual_seed(width)
    return torch.randn(ROWS, width, generator=generator, dtype=torch.float64)


def _generic(architecture: SharingArchitecture) -> SharingArchitecture:
    """In float64, away from the zeros and symmetries of its start, where gradients may vanish."""
    architecture = architecture.double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in architecture.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(0.3 * noise)
    return architecture


def _gradients(loss: Tensor, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Gradient of each parameter that the graph of `loss` reaches."""
    if not loss.requires_grad or not parameters:
        return {}
    found = torch.autograd.grad(loss, [*parameters.values()], retain_graph=True, allow_unused=True)
    return {name: g for name, g in zip(parameters, found, strict=True) if g is not None}


def _gate_gradients(rows: Sequence[ParameterInfo], found: Mapping[str, Tensor]) -> dict[str, bool]:
    """Task → whether its own gate, or its slice of a stack of gates, has a gradient."""
    gates: dict[str, bool] = {}
    for row in rows:
        if row.role is not Role.GATE:
            continue
        gradient = found.get(row.name)
        if row.order:
            for place, task in enumerate(row.order):
                moved = gradient is not None and bool(gradient[place].any())
                gates[task] = gates.get(task, False) or moved
        elif len(row.tasks) == 1:
            (task,) = row.tasks
            gates[task] = gates.get(task, False) or (gradient is not None and bool(gradient.any()))
    return gates
