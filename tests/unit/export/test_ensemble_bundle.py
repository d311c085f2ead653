"""Bundles of ensemble backbones and of private dropout: the same numbers after loading."""

import json

import numpy as np
import pytest
import torch

from polytask import MultiTaskModel, load
from polytask.backbones import MLP, TabM, piecewise_bins
from polytask.export import Bundle, build_model, describe_architecture


def bundle_of(wide, model):
    return Bundle([model], wide.form, wide.encoder, {"seed": 0})


def same(first, second):
    assert list(first.columns) == list(second.columns)
    for column in first.columns:
        assert np.array_equal(first[column].to_numpy(), second[column].to_numpy()), column


def tabm(wide, table, *, bins=True, **options):
    encoder = wide.encoder
    edges = piecewise_bins(encoder.transform(table)["numeric"], 9) if bins else None
    torch.manual_seed(0)
    backbone = TabM(
        encoder.numeric_width, encoder.cardinalities, width=8, members=3, bins=edges, **options
    )
    model = MultiTaskModel.hard(backbone, list(wide.tasks), head_dropout=0.2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


@pytest.mark.parametrize("bins", [True, False])
def test_a_loaded_ensemble_predicts_the_same_numbers(wide, table, tmp_path, bins):
    model = tabm(wide, table, bins=bins, activation="gelu")
    bundle = bundle_of(wide, model)
    bundle.save(tmp_path / "bundle.safetensors")
    loaded = load(tmp_path / "bundle.safetensors")
    same(loaded.predict(table), bundle.predict(table))
    architecture = loaded.manifest["architecture"]
    assert architecture["head_dropout"] == 0.2
    assert architecture["members"] == 3
    assert (architecture["bins"] is not None) is bins
    assert "tabm" in loaded.summary()
    assert loaded.members[0].head_dropout == 0.2
    before = torch.rand(1, generator=torch.default_generator.clone_state())
    build_model(architecture, wide.groups)
    assert torch.equal(before, torch.rand(1))


def test_other_bins_would_be_seen(wide, table):
    model = tabm(wide, table)
    architecture = json.loads(json.dumps(describe_architecture(model)))
    inputs = wide.encoder.transform(table)
    expected = model.eval()(inputs).outputs
    rebuilt = build_model(architecture, wide.groups).eval()
    rebuilt.load_state_dict(model.state_dict())
    for name, outputs in rebuilt(inputs).outputs.items():
        assert torch.equal(outputs, expected[name])
    shifted = [None if b is None else [edge + 0.1 for edge in b] for b in architecture["bins"]]
    moved = build_model({**architecture, "bins": shifted}, wide.groups).eval()
    own = {key: v for key, v in model.state_dict().items() if "encoding" not in key}
    moved.load_state_dict(own, strict=False)
    outputs = moved(inputs).outputs
    assert any(not torch.equal(outputs[name], expected[name]) for name in expected)


def test_private_dropout_is_named_only_where_there_is_some(wide):
    tasks = list(wide.tasks)
    plain = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks)
    assert "head_dropout" not in describe_architecture(plain)
    private = MultiTaskModel.hard(MLP(3, width=8, depth=1), tasks, head_dropout=0.3)
    rebuilt = build_model(describe_architecture(private), wide.groups)
    assert rebuilt.head_dropout == 0.3
    assert all(stack.dropout == 0.3 for stack in rebuilt.heads.stacks)
