"""The laws of sharing architectures: ours, textbook forms of three others, and known mistakes."""

import copy

import pytest
import torch
from torch import nn

from polytask.optim import Kind, ParameterInfo, Role
from polytask.sharing import HardSharing, Shared, SharingArchitecture
from polytask.sharing.choose import chosen_tasks
from polytask.testing import SharingLaws

TASKS = ("a", "b", "c")
WIDTH = 6


def expert():
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())


class Textbook(SharingArchitecture):
    """What the examples have in common; a mistake is switched on by its name."""

    def __init__(self, mistake=None):
        super().__init__()
        self.tasks = TASKS
        self.mistake = mistake

    def width(self, task):
        return WIDTH

    def roles(self):
        kinds = {1: Kind.BIAS, 2: Kind.WEIGHT}
        return [
            ParameterInfo(
                name, parameter, role, kinds[parameter.ndim], frozenset(tasks), self.order_of(name)
            )
            for name, parameter in self.named_parameters()
            for role, tasks in [self.role_of(name)]
        ]

    def order_of(self, name):
        return ()


class Level(nn.Module):
    """One level of PLE: an expert per task, one for all, a gate per task and one for the stream."""

    def __init__(self, last):
        super().__init__()
        self.own = nn.ModuleDict({task: expert() for task in TASKS})
        self.common = expert()
        self.gates = nn.ModuleDict({task: nn.Linear(WIDTH, 2, bias=False) for task in TASKS})
        self.stream = None if last else nn.Linear(WIDTH, len(TASKS) + 1, bias=False)

    def forward(self, streams, shared, mistake):
        own = {task: self.own[task](streams[task]) for task in TASKS}
        logs, mixed = {}, {}
        common = self.common(shared)
        for task in TASKS:
            if mistake == "shared experts read the task's stream":
                common = self.common(streams[task])
            logs[task] = self.gates[task](streams[task]).log_softmax(1)
            both = torch.stack([own[task], common], 1)
            mixed[task] = (logs[task].exp().unsqueeze(2) * both).sum(1)
        if self.stream is None or mistake == "no shared stream":
            return mixed, shared, logs
        weights = self.stream(shared).softmax(1).unsqueeze(2)
        return mixed, (weights * torch.stack([*own.values(), common], 1)).sum(1), logs


class Ple(Textbook):
    """Progressive layered extraction, two levels, with an entropy term of its gates."""

    def __init__(self, mistake=None):
        super().__init__(mistake)
        self.levels = nn.ModuleList([Level(last=False), Level(last=True)])

    def role_of(self, name):
        _, level, part, *rest = name.split(".")
        if part in ("own", "gates") and (level == "1" or part == "gates"):
            return (Role.EXPERT if part == "own" else Role.GATE), (rest[0],)
        return (Role.GATE if part == "stream" else Role.EXPERT), TASKS

    def forward(self, features, tasks=None):
        streams, shared, terms = dict.fromkeys(TASKS, features), features, []
        for level in self.levels:
            below = (*streams.values(), shared)
            streams, shared, logs = level(streams, shared, self.mistake)
            entropy = [-(log.exp() * log).sum(1).mean() for log in logs.values()]
            terms += entropy[-1:] if self.mistake == "last gate only" else entropy
        penalty = -torch.stack(terms).sum()
        penalties = {"entropy": penalty}
        if self.mistake == "backward inside forward":
            penalty.backward(retain_graph=True)
            penalties = {}
        if self.mistake == "penalty without a graph":
            penalties = {"entropy": penalty.detach()}
        names = chosen_tasks(TASKS, tasks)
        used = {f"gate {task}": log.exp().mean(0).detach() for task, log in logs.items()}
        return Shared({task: streams[task] for task in names}, below, penalties, used)


class CrossStitch(Textbook):
    """A column of two stages per task; after each stage the columns are mixed."""

    def __init__(self, mistake=None):
        super().__init__(mistake)
        self.stages = nn.ModuleList(
            nn.ModuleDict({task: expert() for task in TASKS}) for _ in range(2)
        )
        others = 0.1 / (len(TASKS) - 1)
        start = torch.full((len(TASKS), len(TASKS)), others).fill_diagonal_(0.9)
        if mistake == "all ones":
            start = torch.ones_like(start)
        self.mixing = nn.ParameterList([start, start.clone()])

    def role_of(self, name):
        return (Role.GATE if name.startswith("mixing") else Role.TRUNK), TASKS

    def order_of(self, name):
        return TASKS if name.startswith("mixing") else ()

    def forward(self, features, tasks=None, mix=True):
        columns = features.unsqueeze(1).expand(-1, len(TASKS), -1)
        for stage, mixing in zip(self.stages, self.mixing, strict=True):
            below = [stage[task](columns[:, place]) for place, task in enumerate(TASKS)]
            columns = torch.stack(below, 1)
            columns = mixing @ columns if mix else columns
        representations = dict(zip(TASKS, columns.unbind(1), strict=True))
        names = chosen_tasks(TASKS, tasks)
        return Shared({task: representations[task] for task in names}, (*below,), {}, {})


class Branching(Textbook):
    """Every task chooses one of two parents, by noise while training and by size afterwards."""

    def __init__(self, mistake=None):
        super().__init__(mistake)
        self.parents = nn.ModuleList([expert(), expert()])
        self.choice = nn.Parameter(torch.zeros(len(TASKS), 2))

    def role_of(self, name):
        return (Role.GATE if name == "choice" else Role.TRUNK), TASKS

    def order_of(self, name):
        return TASKS if name == "choice" else ()

    def forward(self, features, tasks=None):
        if self.training or self.mistake == "noise in evaluation":
            chosen = nn.functional.gumbel_softmax(self.choice, hard=True)
        else:
            chosen = nn.functional.one_hot(self.choice.argmax(1), 2).to(features.dtype)
        parents = torch.stack([parent(features) for parent in self.parents])
        columns = torch.einsum("kp,pbw->kbw", chosen, parents)
        representations = dict(zip(TASKS, columns, strict=True))
        names = chosen_tasks(TASKS, tasks)
        return Shared({task: representations[task] for task in names}, (parents,), {}, {})


class TestHardSharing(SharingLaws):
    @pytest.fixture
    def architecture(self):
        return HardSharing(TASKS, WIDTH)

    @pytest.fixture
    def width(self):
        return WIDTH


class TestPle(TestHardSharing):
    read_by_all = ("levels.0.common", "levels.0.stream", "levels.1.common")

    @pytest.fixture
    def architecture(self):
        return Ple()


class TestCrossStitch(TestHardSharing):
    read_by_all = ("stages.0.a", "stages.1.b")

    @pytest.fixture
    def architecture(self):
        return CrossStitch()

    def independent(self, architecture, features):
        return architecture(features, mix=False).representations


class TestBranching(TestHardSharing):
    @pytest.fixture
    def architecture(self):
        return Branching()


class ForgetsOneParameter(Ple):
    def roles(self):
        return super().roles()[:-1]


class CallsAllShared(Ple):
    def role_of(self, name):
        return super().role_of(name)[0], TASKS


class TapsTheLastColumnOnly(CrossStitch):
    def forward(self, features, tasks=None, mix=True):
        shared = super().forward(features, tasks, mix)
        return shared._replace(taps=(features.detach(),))


class AveragesWhatIsAsked(SharingArchitecture):
    """A representation that moves with the other tasks in the call."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleDict({task: expert() for task in TASKS})

    def width(self, task):
        return WIDTH

    def roles(self):
        return []

    def forward(self, features, tasks=None):
        names = chosen_tasks(TASKS, tasks)
        found = torch.stack([self.experts[name](features) for name in names])
        return Shared(dict.fromkeys(names, found.mean(0)), (features,), {}, {})


class DeclaresAnotherWidth(Ple):
    def width(self, task):
        return WIDTH + 1


class HidesItsStatistics(CrossStitch):
    """A running mean that no state_dict holds."""

    center = 0.0

    def forward(self, features, tasks=None, mix=True):
        if self.training:
            self.center = features.detach().mean(0)
        return super().forward(features - self.center, tasks, mix)


class KeepsTheGraph(Ple):
    def forward(self, features, tasks=None):
        shared = super().forward(features, tasks)
        return shared._replace(usage=dict(shared.penalties))


DEFECTS = [
    ("test_one_representation_per_task", TestPle, DeclaresAnotherWidth),
    ("test_state_round_trip", TestCrossStitch, HidesItsStatistics),
    ("test_each_part_runs_once", TestPle, lambda: Ple("shared experts read the task's stream")),
    ("test_every_task_reads_what_all_share", TestPle, lambda: Ple("no shared stream")),
    ("test_roles_are_what_gradients_find", TestPle, lambda: Ple("no shared stream")),
    ("test_forward_leaves_no_gradient", TestPle, lambda: Ple("backward inside forward")),
    ("test_penalties_join_the_loss", TestPle, lambda: Ple("last gate only")),
    ("test_penalties_join_the_loss", TestPle, lambda: Ple("penalty without a graph")),
    ("test_usage_is_detached", TestPle, KeepsTheGraph),
    ("test_roles_are_what_gradients_find", TestPle, ForgetsOneParameter),
    ("test_roles_are_what_gradients_find", TestPle, CallsAllShared),
    ("test_every_task_passes_through_a_tap", TestCrossStitch, TapsTheLastColumnOnly),
    ("test_a_task_does_not_depend_on_what_else_is_asked", TestHardSharing, AveragesWhatIsAsked),
    ("test_starts_like_independent_networks", TestCrossStitch, lambda: CrossStitch("all ones")),
    ("test_evaluation_is_deterministic", TestBranching, lambda: Branching("noise in evaluation")),
]


@pytest.mark.parametrize(("law", "suite", "wrong"), DEFECTS)
def test_a_planted_defect_is_noticed(law, suite, wrong):
    torch.manual_seed(0)
    with pytest.raises(AssertionError):
        getattr(suite(), law)(copy.deepcopy(wrong()), WIDTH)
