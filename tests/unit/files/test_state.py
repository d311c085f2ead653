import math
import random
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask._files import flatten_state, read_archive, unflatten_state, write_archive
from polytask.errors import CorruptFile, InvalidArgument

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)
)
KEYS = st.one_of(st.text(max_size=4), st.integers(-5, 5), st.just("!"), st.booleans())
STATES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=20,
)


def through_a_file(state, folder):
    tensors, document = flatten_state(state)
    write_archive(folder / "s", tensors, document, kind="state", schema_version=1)
    return unflatten_state(*read_archive(folder / "s", kind="state", schema_version=1))


def same(a, b):
    """Equal values, types, order of keys and bits."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        keys = zip(a, b, strict=True)
        return len(a) == len(b) and all(same(k, q) and same(a[k], b[q]) for k, q in keys)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return a == b


@settings(max_examples=200, deadline=None)
@given(STATES)
def test_round_trip_of_anything(tmp_path_factory, state):
    folder = tmp_path_factory.getbasetemp()
    assert same(through_a_file(state, folder), state)


@pytest.mark.parametrize(
    "state",
    [
        {0: 1, "0": 2, True: 3},
        {"a/b": torch.ones(1), "a": {"b": torch.zeros(1)}},
        {0: torch.ones(1), "0": torch.zeros(1)},
        {"__metadata__": torch.ones(1)},
        {"big": 2**63 + 1, "bigger": -(2**200)},
        {"nan": math.nan, "inf": math.inf, "minus": -math.inf, "zero": -0.0},
        {"odd nan": struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]},
        (1, (2,), [3, (4,)]),
        torch.ones(2),
        None,
        {},
        {"!": "dict", "items": []},
        {(0, "a"): torch.ones(1)},
        random.Random(3).getstate(),
    ],
    ids=str,
)
def test_awkward_states(tmp_path, state):
    assert same(through_a_file(state, tmp_path), state)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_an_optimizer_continues_bit_for_bit(tmp_path, name):
    def fresh():
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        return model, getattr(torch.optim, name)(model.parameters(), lr=0.1)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(torch.ones(4, 3)).square().sum().backward()
        optimizer.step()

    model, optimizer = fresh()
    for _ in range(3):
        step(model, optimizer)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    other, continued = fresh()
    back = through_a_file(state, tmp_path)
    other.load_state_dict(back["model"])
    continued.load_state_dict(back["optimizer"])
    step(model, optimizer)
    step(other, continued)
    assert torch.equal(model.weight, other.weight)


def test_a_generator_continues(tmp_path):
    generator = torch.Generator().manual_seed(5)
    torch.rand(3, generator=generator)
    other = torch.Generator()
    other.set_state(through_a_file({"g": generator.get_state()}, tmp_path)["g"])
    assert torch.equal(torch.rand(4, generator=generator), torch.rand(4, generator=other))


def test_plain_json_would_lose_integer_keys():
    # The subtly wrong variant: `json.dumps` turns the keys of optimizer states into text.
    import json

    state = {"state": {0: {"step": 1}}}
    assert json.loads(json.dumps(state)) != state
    assert unflatten_state(*flatten_state(state)) == state


@pytest.mark.parametrize("value", [b"x", {1}, torch.float32, object()])
def test_what_cannot_be_held_is_named(value):
    with pytest.raises(InvalidArgument, match=r"`a/1/b` is a "):
        flatten_state({"a": [0, {"b": value}]})


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"state": {"!": "tensor", "name": "missing"}},
        {"state": {"!": "tensor"}},
        {"state": {"!": "other"}},
        {"state": {"!": "float", "bits": "00"}},
        {"state": {"!": "dict", "items": [[[1], 2]]}},
    ],
)
def test_a_wrong_document(document):
    with pytest.raises(CorruptFile, match="cannot be read"):
        unflatten_state({}, document)
