"""Every technique through the run file: it trains, it is listed with its strength, it predicts."""

import re

import numpy as np
import pandas as pd
import pytest
import torch

from polytask.config import methods, run_from_document
from polytask.config.auto import decide
from polytask.config.build import build_penalties
from polytask.config.presets import PRESETS, describe_preset
from polytask.config.run import PenaltyConfig, RunConfig
from polytask.errors import InvalidArgument, PolytaskError, UnknownName, Unsupported
from polytask.export import load
from polytask.pipeline import fit_table
from polytask.pipeline.prepare import prepare
from polytask.pipeline.refit import number_of_splits
from polytask.pipeline.techniques import planned_techniques
from polytask.pipeline.training import Training
from polytask.regularization.inputs import Cutout

SMALL = {"model": {"width": 8, "depth": 1}, "training": {"epochs": 2, "patience": 1}}


@pytest.fixture(scope="module")
def frame():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(90, 4))
    y = x @ [1.0, -1.0, 0.5, 0.0]
    return pd.DataFrame(
        {
            **{f"x{i}": x[:, i] for i in range(4)},
            "town": generator.choice(["a", "b", "c"], 90),
            "cost": y + generator.normal(size=90),
            "stay": 2 * y + generator.normal(size=90),
            "ill": np.where(y + generator.normal(size=90) > 0, "yes", "no"),
        }
    )


def document(**sections):
    merged = {"targets": [{"name": name} for name in ("cost", "stay", "ill")]}
    for name in SMALL.keys() | sections.keys():
        own = sections.get(name, {})
        if sections.get("defence") == "linear":
            if name not in SMALL:
                merged[name] = own
        else:
            merged[name] = {**SMALL.get(name, {}), **own} if isinstance(own, dict) else own
    return merged


def fit(frame, **sections):
    return fit_table(frame, run_from_document(document(**sections)), baselines=False)


def listed(result):
    return dict(result.report.switched_on)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_saves_and_predicts(name, frame, tmp_path):
    own = {"members": 3} if name in ("strong", "small") else {}
    options = {} if name == "linear" else {"model": own}
    if name == "small":
        options["training"] = {"splits": 2}
    if name == "off":
        options["training"] = {"epochs": 2}
    merged = document(defence=name, **options)
    if name == "off":
        del merged["training"]["patience"]
    result = fit_table(frame, run_from_document(merged), baselines=False, out=tmp_path)
    again = load(tmp_path)
    predicted = result.bundle.predict(frame.head(5))
    pd.testing.assert_frame_equal(predicted, again.predict(frame.head(5)))
    assert np.isfinite(predicted["cost"].to_numpy(dtype=float)).all()
    assert result.run.defence == name
    repeated = run_from_document(run_document(tmp_path))
    assert decide(repeated) == decide(result.run)


def run_document(folder):
    from polytask.config import read_toml

    return read_toml(folder / "run.toml")


def test_a_preset_changes_defaults_and_explicit_options_win():
    off = decide(RunConfig(targets=({"name": "y"},), defence="off"))
    assert (off.model.dropout, off.optimizer.weight_decay, off.training.stopping) == (0, 0, "none")
    mixed = decide(RunConfig(targets=({"name": "y"},), defence="off", model={"dropout": 0.3}))
    assert (mixed.model.dropout, mixed.optimizer.weight_decay) == (0.3, 0)
    strong = decide(RunConfig(targets=({"name": "y"},), defence="strong"))
    assert (strong.model.backbone, strong.model.members) == ("tabm", 32)
    plain = RunConfig(targets=({"name": "y"},), defence="strong", model={"backbone": "mlp"})
    assert decide(plain).model.embedding == "none"
    assert decide(decide(strong)) == strong


def test_presets_say_what_they_change():
    assert 'training.stopping = "none"' in describe_preset("off")
    assert describe_preset("safe") == []


PENALTIES = [method.name for method in methods("penalty")]


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_by_name(name, frame):
    options = {
        "graph-laplacian": {"edges": [["cost", "stay", 1.0]]},
        "fused": {"order": ["cost", "stay"]},
    }.get(name, {})
    sgd = {"name": "sgd", "learning_rate": 0.01, "weight_decay": 0.0}
    sections = {"optimizer": sgd if name == "nuclear" else {"weight_decay": 0.0}}
    entry = {"name": name, "strength": 0.01}
    if options:
        entry["options"] = options
    result = fit(frame, penalties=[entry], **sections)
    names = " ".join(listed(result)).lower().replace("-", " ")
    first = name.replace("-", " ").split()[0][:4]
    assert first in names
    if name != "input-gradient":
        assert result.history.epochs[-1].penalties


def test_a_selection_reaches_the_penalty():
    entry = PenaltyConfig(name="group-lasso", strength=0.1, roles=("backbone",), group="column")
    (penalty,) = build_penalties([entry])
    assert {str(role) for role in penalty.selector.roles} == {"backbone"}
    assert penalty.selector.group == "column"


@pytest.mark.parametrize(
    ("entry", "error", "words"),
    [
        ({"name": "lasso", "strength": 1}, UnknownName, "penalties.name"),
        ({"name": "l1", "strength": 1, "options": {"ratio": 1}}, InvalidArgument, "does not exist"),
        (
            {"name": "elastic-net", "strength": 1, "options": {"l1_rati": 1}},
            UnknownName,
            "l1_ratio",
        ),
        (
            {"name": "input-gradient", "strength": 1, "names": "x"},
            InvalidArgument,
            "does not act on weights",
        ),
    ],
)
def test_wrong_penalties(entry, error, words):
    with pytest.raises(error, match=words):
        build_penalties([PenaltyConfig(**entry)])


def test_a_ridge_penalty_takes_the_place_of_the_default_decay(frame):
    result = fit(frame, penalties=[{"name": "l2", "strength": 0.1}])
    assert result.run.optimizer.weight_decay == 0
    with pytest.raises(InvalidArgument, match="counts twice"):
        fit(frame, penalties=[{"name": "l2", "strength": 0.1}], optimizer={"weight_decay": 0.1})


DECAY = {"weight_decay": 0.3}
"""So much that a schedule of it shows in a few updates."""


@pytest.mark.parametrize(
    ("sections", "name"),
    [
        ({"inputs": {"mixup": 0.2}}, "mixup"),
        ({"inputs": {"c_mixup": 2.0}}, "c mixup"),
        ({"inputs": {"manifold_mixup": 2.0}}, "manifold mixup"),
        ({"inputs": {"cutmix": 0.5}}, "cut mix"),
        ({"inputs": {"cutout": 0.9, "cutout_share": 0.4}}, "cutout"),
        ({"inputs": {"noise": 0.1, "feature_dropout": 0.1}}, "feature dropout"),
        ({"inputs": {"adversarial": 0.1}}, "adversarial"),
        ({"model": {"drop_connect": 0.3}}, "DropConnect"),
        ({"model": {"concrete_dropout": True}}, "concrete dropout"),
        ({"model": {"head_dropout": 0.3, "dropout_samples": 4}}, "multi-sample dropout"),
        ({"update": {"sam": 0.05}}, "SAM"),
        ({"update": {"asam": 0.5}}, "ASAM"),
        ({"update": {"task_sam": 0.05}, "balance": {"name": "upgrad"}}, "task SAM"),
        ({"update": {"noise": 0.1}}, "gradient noise"),
        ({"update": {"lookahead": 2}}, "lookahead"),
        ({"averaging": {"name": "ema", "decay": 0.9}}, "EMA"),
        ({"model": {"dropout_schedule": "flat-cosine"}}, "dropout schedule"),
        ({"optimizer": {"decay_schedule": "flat-cosine", **DECAY}}, "weight decay schedule"),
        ({"distillation": {"teacher": "single-task"}}, "distillation"),
    ],
)
def test_every_technique_is_listed_with_its_strength(sections, name, frame):
    result = fit(frame, **sections)
    assert name in listed(result), listed(result)
    plain = fit(frame, optimizer=DECAY if "decay_schedule" in sections.get("optimizer", {}) else {})
    assert result.history.epochs[-1].valid != plain.history.epochs[-1].valid


def test_the_confidence_penalty_is_listed_and_only_training_sees_it(frame, tmp_path):
    targets = [{"name": "cost"}, {"name": "ill", "confidence_penalty": 2.0}]
    options = {"training": {"epochs": 30, "patience": 29}, "optimizer": {"learning_rate": 0.05}}
    result = fit_table(
        frame, run_from_document(document(targets=targets, **options)), baselines=False,
        out=tmp_path,
    )  # fmt: skip
    plain = fit(frame, targets=[{"name": "cost"}, {"name": "ill"}], **options)
    assert listed(result)["confidence penalty of ill"].startswith("2 × ")
    sure, unsure = (r.bundle.predict(frame)["ill_probability_yes"] for r in (plain, result))
    assert (unsure - 0.5).abs().mean() < (sure - 0.5).abs().mean()
    kept = result.report.tasks[1].on("valid").loss
    epoch = result.history.best_epoch
    assert kept == pytest.approx(result.history.epochs[epoch - 1].valid[1], rel=1e-4)
    pd.testing.assert_frame_equal(load(tmp_path).predict(frame), result.bundle.predict(frame))


def test_techniques_that_take_columns_take_whole_ones(frame):
    """The town is three inputs, one per level: they are one column of the table."""
    run = decide(run_from_document(document(inputs={"cutmix": 0.5, "cutout": 0.5})))
    prepared = prepare(frame, run)
    cutmix, cutout = Training(prepared, run).defence.inputs
    assert cutmix.blocks == cutout.blocks == ((4, 5, 6),)
    assert [prepared.encoder.feature_names[i] for i in (4, 6)] == ["town=a", "town=c"]
    torch.manual_seed(0)
    before = prepared.tables["train"]
    towns = Cutout(1.0, 0.5, cutout.blocks)(before)[0].inputs["numeric"][:, 4:]
    assert set(towns.sum(1).tolist()) == {0.0, 1.0}
    shown = dict(planned_techniques(prepared, run))
    assert shown["cutout"] == "20% of the columns of every row blank, in 50% of the batches"


def gated(backbone, tmp_path):
    """Cost and stay depend on x0, x1 and x2 alone; the day and the town are several inputs each."""
    generator = np.random.default_rng(1)
    frame = pd.DataFrame(generator.normal(size=(400, 4)), columns=["x0", "x1", "x2", "x3"])
    frame["town"] = generator.choice(["a", "b", "c"], 400)
    frame["road"] = generator.choice([f"r{i}" for i in range(11)], 400)
    frame["day"] = pd.date_range("2021-01-01", periods=400, freq="7h")[generator.permutation(400)]
    frame["cost"] = frame["x0"] - frame["x1"] + 0.1 * generator.normal(size=400)
    frame["stay"] = frame["x0"] + frame["x2"] + 0.1 * generator.normal(size=400)
    model = {"backbone": backbone, "gates": 0.05, "width": 16, "depth": 1, "dropout": 0.0}
    sections = {
        "targets": [{"name": "cost"}, {"name": "stay"}],
        "model": model | ({"members": 3} if backbone == "tabm" else {}),
        "optimizer": {"learning_rate": 3e-3},
        "training": {"epochs": 120, "patience": 119},
    }
    return frame, fit_table(frame, run_from_document(sections), baselines=False, out=tmp_path)


@pytest.mark.parametrize("backbone", ["mlp", "residual-mlp", "tabm"])
def test_gates_shut_the_columns_that_say_nothing_and_the_report_names_them(backbone, tmp_path):
    frame, result = gated(backbone, tmp_path)
    words = listed(result)["columns read"]
    assert words == "3 of 7: x0, x1, x2; gates shut: x3, town, road, day"
    assert listed(result)["input gates"].startswith("0.05 for every input column")
    assert "learning rate × 10" in listed(result)["input gates"]
    expected = result.bundle.predict(frame)
    pd.testing.assert_frame_equal(load(tmp_path).predict(frame), expected)
    other = frame.assign(x3=7.0, town="b", road="r3", day=frame["day"].iloc[0])
    pd.testing.assert_frame_equal(load(tmp_path).predict(other), expected)
    changed = load(tmp_path).predict(frame.assign(x2=0.0))
    assert not np.allclose(changed["stay"], expected["stay"])


def test_tasks_with_weights_of_their_own_read_columns_of_their_own(frame):
    training = {"epochs": 12, "patience": 3, "stopping": "all", "keep": "per-task"}
    result = fit(
        frame, training=training, optimizer={"learning_rate": 0.05}, model={"gates": 0.05}
    )  # fmt: skip
    assert len(result.bundle.members) > 1, "all tasks peak together: the test shows nothing"
    shown = {name: words for name, words in listed(result).items() if "columns read" in name}
    assert len(shown) == len(result.bundle.members)
    for model in result.bundle.members:
        closed = int(model.backbone.input.gates.gate.closed().sum())
        assert any(words.startswith(f"{5 - closed} of 5: ") for words in shown.values())
    assert {task for name in shown for task in name[16:].split(", ")} == {"cost", "stay", "ill"}


def test_a_linear_model_has_no_gates():
    with pytest.raises(InvalidArgument, match="`model` has no effect"):
        run_from_document({"targets": [{"name": "y"}], "defence": "linear", "model": {"gates": 1}})


def test_a_rate_of_the_gates_that_is_given_wins(frame):
    run = decide(run_from_document(document(model={"gates": 0.1})))
    prepared = prepare(frame, run)
    for rates, expected in (({}, 1e-2), ({"role:gate": 3.0}, 3e-3)):
        optimizer = run.optimizer.model_copy(update={"rates": rates})
        trained = Training(prepared, run.model_copy(update={"optimizer": optimizer})).go()
        found = max(group["lr"] for group in trained.optimizer.param_groups)
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    "model",
    [
        {"head_dropout": 0.3},
        {"head_dropout": 0.3, "dropout_samples": 4},
        {"drop_connect": 0.3},
        {"concrete_dropout": True, "concrete_length_scale": 0.1, "depth": 2},
        {"backbone": "residual-mlp", "drop_connect": 0.3, "dropout_schedule": "flat-cosine"},
        {"backbone": "residual-mlp", "drop_path": 0.3, "depth": 2},
        {"backbone": "tabm", "members": 3, "embedding": "piecewise-linear", "bins": 4},
    ],
)
def test_model_options(model, frame, tmp_path):
    result = fit_table(
        frame, run_from_document(document(model=model)), baselines=False, out=tmp_path
    )
    expected = result.bundle.predict(frame)
    pd.testing.assert_frame_equal(load(tmp_path).predict(frame), expected)


def test_every_task_predicts_with_its_own_best_epoch(frame, tmp_path):
    training = {"epochs": 12, "patience": 3, "stopping": "all", "keep": "per-task"}
    result = fit_table(
        frame, run_from_document(document(training=training, optimizer={"learning_rate": 0.05})),
        baselines=False, out=tmp_path,
    )  # fmt: skip
    best = result.history.best_epochs
    assert len(set(best)) > 1, "all tasks peak together: the test shows nothing"
    assert len(result.bundle.members) == len(set(best))
    again = load(tmp_path)
    pd.testing.assert_frame_equal(again.predict(frame), result.bundle.predict(frame))
    for row, epoch in zip(result.report.tasks, best, strict=True):
        expected = result.history.epochs[epoch - 1].valid[result.history.tasks.index(row.name)]
        assert row.on("valid").loss == pytest.approx(expected, rel=1e-4)


def test_calibration_lowers_the_validation_loss_and_changes_no_decision(frame):
    options = {"training": {"epochs": 40, "patience": 39}, "optimizer": {"learning_rate": 0.05}}
    plain = fit(frame, **options)
    options["training"]["calibrate"] = True
    calibrated = fit(frame, **options)
    losses = [
        next(task for task in result.report.tasks if task.name == "ill").on("valid").loss
        for result in (calibrated, plain)
    ]
    assert losses[0] < losses[1]
    before, after = plain.bundle.predict(frame), calibrated.bundle.predict(frame)
    assert (before["ill"] == after["ill"]).all()
    assert not np.allclose(before["ill_probability_yes"], after["ill_probability_yes"])
    (shown,) = calibrated.report.calibration
    assert shown.temperature > 1
    assert shown.ece_after is not None


def test_a_refit_has_seen_every_row_and_says_so(frame):
    result = fit(frame, training={"refit": True, "splits": 2, "epochs": 4, "patience": 3})
    assert "all rows" in listed(result)["refit"]
    assert not [name for name in listed(result) if "after the refit" in name]
    first = result.model.state_dict()
    delivered = result.bundle.members[0].state_dict()
    assert any(not torch.equal(first[name], delivered[name]) for name in first)


def test_what_the_model_of_a_refit_has_learned_is_told_apart(frame):
    training = {"refit": True, "splits": 1, "epochs": 3, "patience": 2}
    shown = listed(fit(frame, training=training, model={"gates": 0.01, "concrete_dropout": True}))
    for name in ("columns read", "concrete dropout"):
        assert name in shown, shown
        assert f"{name}, after the refit" in shown, shown
    assert shown["concrete dropout"] != shown["concrete dropout, after the refit"]


def test_a_small_table_is_split_five_times(frame):
    options = {"training": {"refit": True, "splits": 0, "epochs": 3, "patience": 2}}
    words = listed(fit(frame, **options))["refit"]
    assert len(re.search("the mean of ([0-9, ]+);", words)[1].split(",")) == 5


def test_splits_are_counted_by_rows_that_can_be_drawn(frame, monkeypatch):
    run = run_from_document(document(training={"refit": True, "splits": 0}))
    prepared = prepare(frame, run)
    assert number_of_splits(prepared, run) == 5
    rows = len(prepared.split.train) + len(prepared.split.valid)
    monkeypatch.setattr("polytask.pipeline.refit.MANY", rows)
    assert number_of_splits(prepared, run) == 1
    monkeypatch.setattr("polytask.pipeline.refit.MANY", rows + 1)
    given = prepare(frame, run, valid=frame.head(20))
    assert number_of_splits(prepared, run) == 5
    assert number_of_splits(given, run) == 1


def test_dropout_masks_in_predictions(frame):
    bundle = fit(frame, model={"dropout": 0.3}).bundle
    rows = frame.head(6)
    first, second = (bundle.predict(rows, samples=20, seed=1) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert (first[["cost_spread", "stay_spread", "ill_spread"]] > 0).all().all()
    assert not first.equals(bundle.predict(rows, samples=20, seed=2))
    with pytest.raises(InvalidArgument, match="`samples` must be 0 for a model without dropout"):
        fit(frame, model={"dropout": 0.0}).bundle.predict(rows, samples=5)


def test_the_teachers_of_task_sam_have_sam(frame):
    result = fit(
        frame,
        update={"task_sam": 0.05},
        balance={"name": "upgrad"},
        distillation={"teacher": "single-task"},
    )
    assert {"task SAM", "distillation"} <= listed(result).keys()


def test_a_table_of_codes_has_no_adversarial_rows(frame):
    codes = frame[["town", "cost", "stay", "ill"]]
    with pytest.raises(InvalidArgument, match=r"`inputs\.adversarial` needs numbers"):
        fit(codes, inputs={"adversarial": 0.1}, data={"one_hot_up_to": 0})


REFUSED = {
    "swa": {"averaging": {"name": "swa"}},
    "mixing twice": {"inputs": {"mixup": 0.2, "cutmix": 0.5}},
    "mixing inputs and layers": {"inputs": {"mixup": 0.2, "manifold_mixup": 2.0}},
    "mixing and a teacher": {
        "inputs": {"mixup": 0.2},
        "distillation": {"teacher": "single-task"},
    },
    "mixing and distil": {"inputs": {"mixup": 0.2}, "training": {"stopping": "distil"}},
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_combinations(name, frame):
    with pytest.raises(Unsupported, match="cannot be combined with"):
        fit(frame, **REFUSED[name])


USELESS = [
    ({"model": {"members": 4}}, r"model\.members"),
    ({"model": {"drop_path": 0.1}}, r"model\.drop_path"),
    ({"averaging": {"decay": 0.9}}, r"averaging\.decay"),
    ({"inputs": {"cutout_share": 0.5}}, r"inputs\.cutout_share"),
    ({"distillation": {"weight": 0.9}}, r"distillation\.weight"),
    ({"training": {"splits": 3}}, r"training\.splits"),
    ({"training": {"refit": True}, "schedule": {"name": "cosine"}}, r"training\.refit.*schedule"),
    ({"training": {"refit": True, "keep": "per-task"}}, r"training\.refit.*keep"),
    ({"training": {"stopping": "distil"}, "split": {"valid": 0.0}}, "validation rows"),
    ({"defence": "linear", "model": {"width": 8}}, "`model` has no effect"),
    (
        {"defence": "linear", "targets": [{"name": "y", "confidence_penalty": 0.1}]},
        "`confidence_penalty` of target 'y' has no effect",
    ),
    ({"defence": "linear", "training": {"epochs": 8}}, r"`training\.epochs` has no effect"),
]


@pytest.mark.parametrize(("sections", "words"), USELESS)
def test_options_without_effect_are_refused(sections, words):
    merged = {"targets": [{"name": "y"}], **sections}
    with pytest.raises(PolytaskError, match=words):
        run_from_document(merged)


def test_a_number_has_no_confidence_to_penalise(frame):
    with pytest.raises(InvalidArgument, match="'cost' is a regression target, to which `conf"):
        fit(frame, targets=[{"name": "cost", "confidence_penalty": 0.1}])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_overfitting_on_purpose(seed):
    """64 rows with random labels: memorised without defence, and said so; not with the default."""
    generator = np.random.default_rng(seed)
    rows = pd.DataFrame(generator.normal(size=(128, 20))).add_prefix("x")
    rows["y"] = generator.integers(0, 2, 128)
    rows["part"] = ["train"] * 64 + ["valid"] * 64
    losses, words = {}, {}
    for name in ("off", "safe"):
        run = run_from_document(
            {
                "targets": [{"name": "y", "kind": "binary"}],
                "data": {"split": "part"},
                "defence": name,
                "seed": seed,
            }
        )
        report = fit_table(rows, run).report
        (task,), (verdict,) = report.tasks, report.verdicts
        losses[name], words[name] = task.on("valid").loss, verdict.word
        accuracy = {m.name: m.model for m in task.on("train").metrics}["accuracy"]
        assert (accuracy == 1.0) == (name == "off")
    assert words["off"] == "overfits"
    assert words["safe"] != "overfits"
    assert losses["safe"] < 0.5 * losses["off"]
