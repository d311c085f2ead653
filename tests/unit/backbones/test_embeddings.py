"""Piecewise-linear embeddings: the formula, the bins, and what passes through."""

import json

import numpy as np
import pytest
import torch

from polytask.backbones import PiecewiseInput, piecewise_bins
from polytask.errors import InvalidArgument


def encoding(x, edges, *, clip=True):
    """The encoding of one number, one bin after the other."""
    last = len(edges) - 2
    parts = []
    for t in range(len(edges) - 1):
        share = (x - edges[t]) / (edges[t + 1] - edges[t])
        if clip and t > 0:
            share = max(share, 0.0)
        if clip and t < last:
            share = min(share, 1.0)
        parts.append(share)
    return parts


def curves_of(layer, column, size):
    """Rows of the table in the order of the bins: the encoding keeps the last bin at the end."""
    table = layer.curves[column]
    return torch.cat([table[: size - 1], table[-1:]])


def test_embeddings_equal_the_formula():
    torch.manual_seed(0)
    bins = [[-1.0, 0.0, 0.5, 2.0], None, [0.0, 1.0, 4.0]]
    layer = PiecewiseInput(3, [5], bins=bins, embedding=4)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    layer = layer.double()
    numeric = torch.tensor(
        [[-3.0, 7.0, -1.0], [-0.4, 1.0, 0.25], [0.7, 0.0, 2.0], [9.0, 1.0, 6.0]],
        dtype=torch.float64,
    )
    inputs = {"numeric": numeric, "categories": torch.tensor([[0], [1], [2], [4]])}
    found = layer(inputs)
    assert layer.pieces == [1, 3, 4, 4]
    assert sum(layer.pieces) == layer.width == found.shape[1]
    assert torch.equal(found[:, :1], numeric[:, 1:2])
    assert torch.equal(found[:, :4], layer.table(inputs)[:, [1, 3, 4, 5]])
    for place, (column, edges) in enumerate([(0, bins[0]), (2, bins[2])]):
        for clip in (True, False):
            shares = torch.tensor(
                [encoding(x, edges, clip=clip) for x in numeric[:, column].tolist()],
                dtype=torch.float64,
            )
            linear = layer.offset[place] + layer.slope[place] * numeric[:, column, None]
            expected = linear + shares @ curves_of(layer, place, shares.shape[1])
            part = found[:, 4 + 4 * place : 8 + 4 * place]
            # Without the clipping this is a straight line: the mutation.
            assert torch.allclose(part, expected, atol=1e-6) is clip


def test_an_embedding_begins_linear():
    layer = PiecewiseInput(1, bins=[[0.0, 1.0, 5.0]], embedding=3)
    x = torch.tensor([[-1.0], [0.0], [1.0], [2.0], [9.0]])
    expected = layer.offset + layer.slope * x
    torch.testing.assert_close(layer(x), expected)
    (layer(x) ** 2).sum().backward()
    assert layer.curves.grad.abs().sum() > 0


def test_bins_are_the_quantiles_of_the_given_rows():
    rng = np.random.default_rng(0)
    column = rng.normal(size=1000).astype(np.float32)
    (edges,) = piecewise_bins(torch.from_numpy(column)[:, None])
    assert len(edges) == 49
    expected = np.quantile(column, np.linspace(0, 1, 49))
    np.testing.assert_allclose(edges, expected, rtol=1e-5, atol=1e-6)
    even = np.linspace(column.min(), column.max(), 49)
    assert not np.allclose(edges, even, rtol=1e-5, atol=1e-6)
    assert json.loads(json.dumps(edges)) == edges


def test_columns_that_two_edges_describe_pass_through():
    rows = 300
    rng = np.random.default_rng(0)
    rare = np.zeros(rows)
    rare[:2] = [0.3, 0.7]
    columns = {
        "number": rng.normal(size=rows),
        "indicator": rng.integers(0, 2, rows),
        "constant": np.full(rows, 3.0),
        "rare": rare,
        "three": rng.integers(0, 3, rows),
        "heavy": np.where(rng.random(rows) < 0.6, 0.0, rng.random(rows)),
    }
    numeric = torch.from_numpy(np.stack([*columns.values()], axis=1)).float()
    bins = dict(zip(columns, piecewise_bins(numeric), strict=True))
    assert [name for name, edges in bins.items() if edges is None] == [
        "indicator",
        "constant",
        "rare",
    ]
    assert bins["three"] == [0.0, 1.0, 2.0]
    assert 10 < len(bins["heavy"]) < 30
    assert bins["heavy"][0] == 0.0


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 20])
def test_few_rows_have_few_bins_or_none(rows):
    (edges,) = piecewise_bins(torch.arange(float(rows))[:, None])
    assert edges is None if rows < 3 else 3 <= len(edges) <= rows


def test_edges_too_close_to_tell_apart_are_merged():
    column = torch.cat([torch.linspace(0, 1, 50), torch.linspace(1000.0, 1000.001, 50)])
    (edges,) = piecewise_bins(column[:, None], 48)
    gaps = np.diff(edges)
    assert (gaps >= 0.99e-5 * np.abs(edges[1:])).all()
    assert edges[0] == 0.0
    assert edges[-1] == column.max().item()
    assert len(edges) < 30


@pytest.mark.parametrize(
    ("numeric", "count", "word"),
    [
        (torch.tensor([[1.0], [float("nan")], [2.0], [3.0]]), 4, "finite"),
        (torch.zeros(4), 4, "shape"),
        (torch.zeros(4, 1), 1, "count"),
    ],
)
def test_bad_inputs_of_bins_are_refused(numeric, count, word):
    with pytest.raises(InvalidArgument, match=word):
        piecewise_bins(numeric, count)


@pytest.mark.parametrize(
    "bins", [[[0.0, 1.0, 2.0]], [None, None], [[0.0, 1.0], None], [[0.0, 2.0, 1.0], None]]
)
def test_bins_that_do_not_fit_are_refused(bins):
    with pytest.raises(InvalidArgument, match="bins"):
        PiecewiseInput(2, bins=bins)
