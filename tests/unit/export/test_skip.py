"""A network whose heads read the inputs too is written and read like any other."""

from pathlib import Path

import numpy as np
import pandas as pd

from polytask.config import run_from_document
from polytask.export import load
from polytask.pipeline import fit_table


def test_a_saved_model_with_a_skip_predicts_the_same(tmp_path: Path) -> None:
    x = np.arange(60.0)
    frame = pd.DataFrame({"x": x % 7, "z": x % 5, "y": 2 * x, "w": -x})
    document = {
        "targets": [{"name": "y", "kind": "regression"}, {"name": "w", "kind": "regression"}],
        "model": {"width": 16, "skip": True},
        "training": {"epochs": 1},
    }
    result = fit_table(frame, run_from_document(document), baselines=False, out=tmp_path)
    backbone = result.model.backbone
    assert backbone.width == 16 + backbone.input.width
    loaded = load(tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(loaded.predict(frame), result.bundle.predict(frame))
