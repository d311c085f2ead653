"""TableInput: numbers as they are, category codes to learned vectors."""

import pytest
import torch

from polytask.backbones import TableInput, embedding_width
from polytask.errors import InvalidArgument
from polytask.optim import Kind, parameter_kinds


def test_rows_equal_one_table_per_column():
    """The fused look-up equals a loop over columns with a table each."""
    torch.manual_seed(0)
    cardinalities = [5, 14, 7]
    layer = TableInput(2, cardinalities)
    with torch.no_grad():
        layer.missing.normal_()
    codes = torch.stack([torch.randint(0, codes, (50,)) for codes in cardinalities], dim=1)
    codes[0] = 0
    codes[1] = 1
    codes[2] = torch.tensor(cardinalities) - 1
    numeric = torch.randn(50, 2)
    parts, start = [numeric], 0
    for column, levels in enumerate([3, 12, 5]):
        reserved = layer.missing[2 * column : 2 * column + 2]
        table = torch.cat([reserved, layer.weight[start : start + levels]])
        parts.append(table[codes[:, column]])
        start += levels
    expected = torch.cat(parts, dim=1)
    assert torch.equal(layer({"numeric": numeric, "categories": codes}), expected)
    assert layer.width == expected.shape[1] == 2 + 3 * 8


def test_a_wrong_shift_would_be_seen():
    """The mutation: reading the next column's rows gives other vectors."""
    layer = TableInput(0, [5, 5])
    codes = torch.tensor([[2, 2], [3, 4]])
    good = layer({"categories": codes})
    layer.level_shift = layer.level_shift.flip(0)
    assert not torch.equal(layer({"categories": codes}), good)


def test_missing_and_unseen_start_at_the_centre_and_are_their_own_kind():
    layer = TableInput(1, [12, 12])
    out = layer({"numeric": torch.ones(2, 1), "categories": torch.tensor([[0, 1], [1, 0]])})
    assert torch.equal(out, torch.cat([torch.ones(2, 1), torch.zeros(2, 16)], dim=1))
    assert parameter_kinds(layer) == {"missing": Kind.MISSING, "weight": Kind.EMBEDDING}
    assert layer.weight.abs().max() <= 8**-0.5


def test_only_looked_up_rows_learn():
    layer = TableInput(0, [5, 5])
    layer({"categories": torch.tensor([[0, 3]])}).sum().backward()
    assert layer.missing.grad.abs().sum(1).nonzero().flatten().tolist() == [0]
    assert layer.weight.grad.abs().sum(1).nonzero().flatten().tolist() == [4]


def test_numbers_alone_pass_untouched():
    layer = TableInput(3)
    x = torch.randn(4, 3)
    assert layer(x) is x
    assert layer({"numeric": x}) is x
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}


@pytest.mark.parametrize(
    ("cardinalities", "width"), [([], 0), ([3], 1), ([9, 4], 7), ([10], 8), ([1000, 5], 8)]
)
def test_embedding_width_rule(cardinalities, width):
    assert embedding_width(cardinalities) == width


@pytest.mark.parametrize(
    ("numeric", "cardinalities", "inputs", "word"),
    [
        (2, [3], {"numeric": torch.zeros(4, 3), "categories": torch.zeros(4, 1).long()}, "numeric"),
        (2, [3], {"numeric": torch.zeros(4, 2)}, "categories"),
        (0, [3], torch.zeros(4, 2), "categories"),
        (2, [], torch.zeros(4), "numeric"),
        (0, [3], {"categories": torch.zeros(4, 2).long()}, "categories"),
    ],
)
def test_inputs_of_another_width_are_named(numeric, cardinalities, inputs, word):
    with pytest.raises(InvalidArgument, match=word):
        TableInput(numeric, cardinalities)(inputs)


@pytest.mark.parametrize(("numeric", "cardinalities"), [(0, []), (-1, [5]), (1, [2])])
def test_impossible_tables_are_refused(numeric, cardinalities):
    with pytest.raises(InvalidArgument):
        TableInput(numeric, cardinalities)
