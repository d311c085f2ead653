"""How `bundle-v1.safetensors` was made; kept to show its content, not to be run again.

The file stands for every bundle of schema version 1 that is out in the world. If it stops loading,
polytask is wrong, not the file: raise SCHEMA_VERSION, read both, and freeze a second file.
"""

from pathlib import Path

import pandas
import torch

from polytask import Binary, Multiclass, MultiTaskModel, Regression
from polytask.backbones import MLP
from polytask.data.encode import FeatureEncoder
from polytask.data.forms import WideForm
from polytask.data.schema import infer_schema
from polytask.export import Bundle

SPECS = (Regression("y"), Binary("b"), Multiclass("c"))


def training_table() -> pandas.DataFrame:
    """Twelve rows: numbers with a gap, a flag, a date, few levels, many levels, three targets."""
    return pandas.DataFrame(
        {
            "id": range(12),
            "size": [1.5, 2.0, None, 3.5, 2.5, 4.0, 1.0, 3.0, 2.2, 2.8, 1.8, 3.3],
            "new": [True, False] * 6,
            "day": pandas.date_range("2024-01-30", periods=12, freq="36h"),
            "colour": ["red", "blue", "red", "green"] * 3,
            "place": [f"place {i}" for i in range(11)] + ["place 0"],
            "y": [10.0, 20.0, 30.0, None, 50.0, 60.0, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0],
            "b": ["no", "yes", "no", "no"] * 3,
            "c": [1, 2, 3] * 4,
        }
    )


def freeze(path: Path) -> None:
    """Writes the file."""
    frame = training_table()
    inputs = frame[["size", "new", "day", "colour", "place"]]
    schema = infer_schema(inputs, {"place": "category", "colour": "category"})
    encoder = FeatureEncoder.fit(inputs, schema.columns)
    form = WideForm(SPECS, ("id",))
    tasks = [spec.fit(form.values(frame, spec)) for spec in SPECS]
    torch.manual_seed(0)
    backbone = MLP(encoder.numeric_width, encoder.cardinalities, width=4, depth=1, dropout=0.0)
    model = MultiTaskModel.hard(backbone, tasks)
    with torch.no_grad():  # binary fractions: the file depends on no random generator
        for parameter in model.parameters():
            steps = torch.arange(parameter.numel(), dtype=torch.float32)
            parameter.copy_(((steps * 7 % 23 - 11) / 16).view_as(parameter))
    Bundle([model], form, encoder, {"seed": 0}).save(path)


if __name__ == "__main__":
    freeze(Path(__file__).with_name("bundle-v1.safetensors"))
