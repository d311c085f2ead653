"""Laws of schedules and of the plateau on inputs nobody chose."""

import math

from hypothesis import given
from hypothesis import strategies as st

from polytask.optim import (
    Plateau,
    cosine,
    coslog4,
    flat_cosine,
    linear,
    piecewise,
    product,
    warmed_up,
)

fractions = st.floats(0, 1)
points = st.lists(
    st.tuples(st.integers(-50, 50), st.floats(0, 100)), min_size=1, unique_by=lambda p: p[0]
).map(sorted)


@given(fractions)
def test_factors_of_a_run_stay_between_zero_and_one(t):
    for schedule in (cosine(), flat_cosine(), coslog4(), warmed_up(cosine(), 0.3)):
        assert -1e-12 <= schedule(t) <= 1 + 1e-12


@given(fractions, fractions)
def test_cosine_and_flat_cosine_never_rise(t, u):
    for schedule in (cosine(), flat_cosine()):
        assert schedule(max(t, u)) <= schedule(min(t, u)) + 1e-12


@given(points, st.floats(-100, 100))
def test_piecewise_and_linear_stay_within_their_points(pairs, position):
    low, high = min(f for _, f in pairs), max(f for _, f in pairs)
    for schedule in (piecewise(pairs), linear(pairs)):
        assert low - 1e-9 <= schedule(position) <= high + 1e-9


@given(points)
def test_both_pass_through_their_points(pairs):
    for position, factor in pairs:
        assert piecewise(pairs)(position) == factor
        assert math.isclose(linear(pairs)(position), factor, abs_tol=1e-12)


@given(points, points, st.floats(-100, 100))
def test_product_commutes(first, second, position):
    a, b = linear(first), piecewise(second)
    assert product(a, b)(position) == product(b, a)(position)


@given(
    st.lists(st.one_of(st.floats(-10, 10), st.just(math.nan)), max_size=40),
    st.integers(1, 5),
    st.integers(0, 40),
)
def test_a_plateau_never_rises_and_resumes_anywhere(scores, patience, stop):
    whole = Plateau(0.5, patience)
    rates = [whole.observe(score) for score in scores]
    assert rates == sorted(rates, reverse=True)
    first, second = Plateau(0.5, patience), Plateau(0.5, patience)
    for score in scores[:stop]:
        first.observe(score)
    second.load_state_dict(first.state_dict())
    assert [second.observe(score) for score in scores[stop:]] == rates[stop:]
