"""Bundles of a user's own module, backbone and task: the file holds arrays, the caller the code."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pandas.testing import assert_frame_equal
from torch import nn

from polytask import Binary, MultiTaskModel, Regression, Trainer, load
from polytask.backbones import Backbone
from polytask.data.batch import Batch
from polytask.data.batches import ResidentBatches
from polytask.data.forms import WideForm
from polytask.data.targets import encode_targets
from polytask.errors import InvalidArgument, UnknownName, Unsupported
from polytask.export import Bundle, build_model, describe_architecture
from polytask.metrics.base import Metric
from polytask.sharing import adapt
from polytask.tasks import Task, TaskSpec, group_tasks, task_to_json

SPECS = (Regression("pressure"), Binary("sick"))


class WithHeads(nn.Module):
    def __init__(self, width, hidden=6, extra=False):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.25))
        self.pressure = nn.Linear(hidden, 1)
        self.sick = nn.Linear(hidden, 1)
        if extra:
            self.scale = nn.Parameter(torch.ones(1))

    def forward(self, inputs):
        features = self.trunk(inputs["numeric"])
        return {"pressure": self.pressure(features), "sick": self.sick(features)}


class Features(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(width, 6), nn.ReLU())

    def forward(self, inputs):
        return self.trunk(inputs["numeric"])


class OwnBackbone(Backbone):
    def __init__(self, width):
        super().__init__()
        self.width = 6
        self.layer = nn.Linear(width, 6)

    def forward(self, inputs):
        return torch.relu(self.layer(inputs["numeric"]))


@pytest.fixture(scope="module")
def parts(wide, table):
    form = WideForm(SPECS)
    return form, [spec.fit(form.values(table, spec)) for spec in SPECS], wide.encoder


def bundle_of(module, parts, table):
    form, tasks, encoder = parts
    example = Batch(encoder.transform(table), {}, {}, None, torch.arange(len(table)))
    return Bundle([adapt(module, group_tasks(tasks), example)], form, encoder)


@pytest.mark.parametrize("kind", [WithHeads, Features])
def test_round_trip(kind, parts, table, tmp_path):
    torch.manual_seed(0)
    width = parts[2].numeric_width
    bundle = bundle_of(kind(width), parts, table)
    bundle.save(tmp_path)
    assert bundle.manifest["architecture"] == {"backbone": "own"}
    assert "a module of your own" in bundle.summary()
    fresh = kind(width)
    before = fresh.trunk[0].weight.clone()
    back = load(tmp_path, model=fresh)
    assert_frame_equal(back.predict(table), bundle.predict(table), check_exact=True)
    assert torch.equal(fresh.trunk[0].weight, before), "the caller's module is not changed"


def test_features_are_trained_with_the_heads_that_the_bundle_saves(parts, table, tmp_path):
    form, tasks, encoder = parts
    groups = group_tasks(tasks)
    targets, masks = encode_targets(table, form, groups)
    rows = Batch(encoder.transform(table), targets, masks, None, torch.arange(len(table)))
    model = adapt(Features(encoder.numeric_width), groups, rows)
    assert adapt(model, groups, rows) is model
    before = model.heads.stacks[0].weight.clone()
    Trainer(model, tasks, epochs=2).fit(ResidentBatches(rows, batch_size=20))
    assert not torch.equal(model.heads.stacks[0].weight, before)
    bundle = Bundle([model], form, encoder)
    bundle.save(tmp_path)
    back = load(tmp_path, model=Features(encoder.numeric_width))
    assert_frame_equal(back.predict(table), bundle.predict(table), check_exact=True)


def test_own_backbone_in_a_polytask_model(parts, table, tmp_path):
    form, tasks, encoder = parts
    model = MultiTaskModel.hard(OwnBackbone(encoder.numeric_width), tasks)
    bundle = Bundle([model], form, encoder)
    bundle.save(tmp_path)
    fresh = MultiTaskModel.hard(OwnBackbone(encoder.numeric_width), tasks)
    back = load(tmp_path, model=fresh)
    assert_frame_equal(back.predict(table), bundle.predict(table), check_exact=True)


def test_the_module_has_to_be_handed_back(parts, table, tmp_path):
    bundle_of(WithHeads(parts[2].numeric_width), parts, table).save(tmp_path)
    with pytest.raises(InvalidArgument, match=r"`model` must be given.*load\(path, model=module\)"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden": 7}, r"'module\.trunk\.0\.weight' is \[6, 11\] in the file and \[7, 11\]"),
        ({"extra": True}, r"'module\.scale' is in the model and not in the file"),
    ],
)
def test_the_first_difference_is_named(parts, table, tmp_path, options, sentence):
    width = parts[2].numeric_width
    bundle_of(WithHeads(width), parts, table).save(tmp_path)
    with pytest.raises(InvalidArgument, match=sentence):
        load(tmp_path, model=WithHeads(width, **options))


def test_a_parameter_less(parts, table, tmp_path):
    width = parts[2].numeric_width
    bundle_of(WithHeads(width, extra=True), parts, table).save(tmp_path)
    with pytest.raises(InvalidArgument, match=r"'module\.scale' is in the file and not in the"):
        load(tmp_path, model=WithHeads(width))


def test_another_precision(parts, table, tmp_path):
    width = parts[2].numeric_width
    bundle = bundle_of(WithHeads(width), parts, table)
    bundle.save(tmp_path)
    with pytest.raises((InvalidArgument, Unsupported)):
        load(tmp_path, model=WithHeads(width).double())


def test_a_bare_module_is_no_member(parts):
    form, _, encoder = parts
    with pytest.raises(Unsupported, match="Wrap your own module before training"):
        Bundle([WithHeads(3)], form, encoder)


@dataclass(frozen=True)
class Sign(TaskSpec):
    """A custom task: the sign of a number, learned by a hinge."""

    kind: ClassVar[str] = "sign"

    def fit(self, values, weights=None):
        return SignTask(self)


@dataclass(frozen=True)
class SignTask(Task):
    spec: Sign
    outputs: int = field(default=1, init=False)

    def encode(self, values):
        numbers = torch.from_numpy(np.asarray(values, dtype=np.float32))
        return numbers.nan_to_num().sign(), ~numbers.isnan()

    def loss(self, output, target):
        return torch.relu(1 - output.squeeze(-1) * target)

    def predict(self, output):
        return {"": output.squeeze(-1).sign().numpy()}

    def metrics(self) -> dict[str, Metric]:
        return {}

    def baseline(self):
        return torch.zeros(1)

    def state(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_state(cls, spec, state):
        return cls(spec)


def test_custom_task(wide, table, tmp_path):
    spec = Sign("pressure")
    tasks = [spec.fit(table["pressure"].to_numpy())]
    architecture = wide.manifest["architecture"]
    model = build_model(architecture, group_tasks(tasks))
    bundle = Bundle([model], WideForm((spec,)), wide.encoder)
    bundle.save(tmp_path)
    with pytest.raises(UnknownName, match=r"'SignTask'.*task_types|'Sign'.*task_types"):
        load(tmp_path)
    back = load(tmp_path, task_types=[Sign, SignTask])
    assert_frame_equal(back.predict(table), bundle.predict(table), check_exact=True)
    assert describe_architecture(model) == architecture


def test_separate_heads_stay_separate(parts, table, tmp_path, wide):
    form = WideForm((Regression("pressure"), Regression("sugar")))
    tasks = [spec.fit(form.values(table, spec)) for spec in form.specs]
    fused, apart = group_tasks(tasks), group_tasks(tasks, separate=["sugar"])
    assert (len(fused), len(apart)) == (1, 2)
    model = build_model(wide.manifest["architecture"], apart)
    bundle = Bundle([model], form, wide.encoder)
    bundle.save(tmp_path)
    assert [group.indices for group in load(tmp_path).groups] == [(0,), (1,)]
    assert_frame_equal(load(tmp_path).predict(table), bundle.predict(table), check_exact=True)


def test_the_file_names_no_importable_class(wide, tmp_path):
    # Nothing in the manifest is a module path: classes come from tables inside polytask.
    text = str(wide.manifest)
    assert "polytask." not in text
    assert task_to_json(wide.tasks[0])["task"] == "RegressionTask"
