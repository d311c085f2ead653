"""A small table with tasks of three kinds and gaps in the labels."""

import numpy as np
import pandas as pd
import pytest
import torch

ROWS = 150


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that wait for each other make tiny networks slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def mixed():
    """price (numbers), sick (yes or no), stage (0, 1, 2); each depends on the inputs."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 3))
    frame = pd.DataFrame(x, columns=["a", "b", "c"], index=np.arange(ROWS) + 1000)
    frame["city"] = rng.choice(["Ulm", "Bonn", "Jena"], ROWS)
    frame["price"] = 300 * x[:, 0] + 50 * (frame["city"] == "Ulm") + rng.normal(size=ROWS)
    frame["sick"] = np.where(x[:, 1] > 0, "yes", "no")
    frame["stage"] = np.digitize(x[:, 2], [-0.5, 0.5]).astype(float)
    frame.loc[frame.index[::5], "price"] = np.nan
    frame.loc[frame.index[1::7], "sick"] = None
    frame.loc[frame.index[3::9], "stage"] = np.nan
    return frame


@pytest.fixture
def options():
    """Small and quick, but enough to learn the table."""
    return {
        "width": 32,
        "depth": 1,
        "epochs": 60,
        "learning_rate": 1e-2,
        "batch_size": 32,
        "random_state": 0,
    }
