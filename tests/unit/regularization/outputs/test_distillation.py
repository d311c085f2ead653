"""The shares of labels and teacher."""

import pytest

from polytask.errors import InvalidArgument
from polytask.regularization.outputs import Distillation


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_the_share_of_the_labels_is_what_the_teacher_leaves(weight, fraction):
    assert Distillation(weight=weight).label_share(fraction) == 1 - weight


@pytest.mark.parametrize("weight", [0.0, 0.9])
def test_annealing_begins_with_the_teacher_and_ends_with_the_labels(weight):
    """Linear in the fraction of the run, whatever the weight."""
    annealed = Distillation(weight=weight, annealed=True)
    assert [annealed.label_share(i / 8) for i in range(9)] == [i / 8 for i in range(9)]


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_share_lies_between_none_and_all(weight):
    with pytest.raises(InvalidArgument, match=r"`weight` must lie in \[0, 1\]"):
        Distillation(weight=weight)


@pytest.mark.parametrize("temperature", [0.0, -2.0, float("inf"), float("nan")])
def test_the_temperature_is_positive(temperature):
    with pytest.raises(InvalidArgument, match="`temperature` must be positive"):
        Distillation(temperature=temperature)


def test_equal_options_are_equal():
    assert Distillation() == Distillation(0.5, 2.0, False)
    with pytest.raises(AttributeError):
        Distillation().weight = 0.1


def test_descriptions():
    assert Distillation(0.9, 4).describe() == "teacher's share 0.9, temperature 4"
    assert "from 0 to 1" in Distillation(annealed=True).describe()
