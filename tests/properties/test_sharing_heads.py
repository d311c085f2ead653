"""Stacked heads equal a loop of Linear layers, whatever the sizes and the request."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from polytask.sharing import StackedHead


@given(
    heads=st.integers(1, 6),
    outputs=st.integers(1, 4),
    width=st.integers(1, 7),
    rows=st.integers(1, 6),
    common=st.booleans(),
    data=st.data(),
)
def test_any_request_equals_the_loop(heads, outputs, width, rows, common, data):
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    head = StackedHead(torch.zeros(heads, outputs), width).double()
    with torch.no_grad():
        head.weight.copy_(draw(heads, outputs, width))
        head.bias.copy_(draw(heads, outputs))
    chosen = data.draw(
        st.one_of(
            st.none(),
            st.lists(st.integers(0, heads - 1), min_size=1, unique=True).map(sorted),
        )
    )
    asked = list(range(heads)) if chosen is None else chosen
    shared = draw(rows, width)
    inputs = [shared if common else draw(rows, width) for _ in asked]
    expected = torch.stack(
        [
            functional.linear(z, head.weight[i], head.bias[i])
            for z, i in zip(inputs, asked, strict=True)
        ],
        dim=1,
    )
    found = head(inputs, chosen)
    assert found.shape == (rows, len(asked), outputs)
    assert torch.allclose(found, expected, atol=1e-12)
