import numpy as np
import pandas
import pytest
import torch

from polytask import MultiTaskModel
from polytask.backbones import MLP, ResidualMLP
from polytask.data.encode import FeatureEncoder
from polytask.data.forms import LongForm, WideForm
from polytask.data.schema import infer_schema
from polytask.export import Bundle
from polytask.tasks import Binary, Count, Multiclass, Multilabel, Regression

INPUTS = ["age", "city", "smoker", "visited", "postcode"]
SPECS = (
    Regression("pressure"),
    Binary("sick"),
    Multiclass("stage"),
    Regression("sugar", loss="huber"),
    Count("visits"),
    Multilabel("signs", columns=("cough", "fever")),
)


def make_table(rows=60, seed=0):
    r = np.random.default_rng(seed)
    cities = [f"town {i}" for i in range(15)]
    frame = pandas.DataFrame(
        {
            "patient": [f"p{i}" for i in range(rows)],
            "age": np.where(r.random(rows) < 0.2, np.nan, r.normal(50, 10, rows)),
            "city": r.choice(["Ulm", "Bonn", "Jena"], rows),
            "smoker": r.choice([True, False], rows),
            "visited": pandas.date_range("2024-01-01", periods=rows, freq="D"),
            "postcode": [*cities, *r.choice(cities, rows - 15)],
            "pressure": r.normal(120, 15, rows),
            "sick": r.choice(["no", "yes"], rows),
            "stage": r.choice(["I", "II", "III"], rows),
            "sugar": r.normal(5, 1, rows),
            "visits": r.poisson(3, rows),
            "cough": r.integers(0, 2, rows),
            "fever": r.integers(0, 2, rows),
        }
    )
    return frame.set_index(pandas.Index(range(100, 100 + rows), name="row"))


def fit_encoder(frame):
    inputs = frame[INPUTS]
    return FeatureEncoder.fit(inputs, infer_schema(inputs, {"postcode": "category"}).columns)


def make_backbone(encoder, kind=MLP, **options):
    torch.manual_seed(0)
    return kind(
        encoder.numeric_width, encoder.cardinalities, **{"width": 12, "depth": 2, **options}
    )


def disturb(model, seed=1):
    """Weights unlike those of a fresh model, as after training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return model


def make_wide(frame, members=1, kind=MLP, specs=SPECS, ids=("patient",), **options):
    form = WideForm(specs, ids)
    tasks = [spec.fit(form.values(frame, spec)) for spec in specs]
    encoder = fit_encoder(frame)
    models = [
        disturb(MultiTaskModel.hard(make_backbone(encoder, kind, **options), tasks), seed)
        for seed in range(members)
    ]
    return Bundle(models, form, encoder, {"seed": 0})


def make_long(frame):
    form = LongForm.create(frame, "city", Regression("pressure"), ids=["patient"]).pooled(frame)
    tasks = [spec.fit(values) for spec, values in form.all_values(frame)]
    encoder = fit_encoder(frame)
    return Bundle([disturb(MultiTaskModel.hard(make_backbone(encoder), tasks))], form, encoder)


@pytest.fixture(scope="session")
def table():
    return make_table()


@pytest.fixture(scope="session")
def wide(table):
    return make_wide(table)


@pytest.fixture(scope="session")
def long(table):
    return make_long(table)


@pytest.fixture(scope="session")
def ensemble(table):
    return make_wide(table, members=3)


@pytest.fixture(scope="session")
def residual(table):
    return make_wide(table, kind=ResidualMLP, normalization="batch", dropout=0.3)


@pytest.fixture(scope="session")
def make():
    """The makers, for tests that need a variant."""
    return make_wide
