"""Any state dictionary as tensors and one JSON document, and back, without a bit of difference."""

import math
import struct
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from polytask.errors import CorruptFile, InvalidArgument

_TAG = "!"
"""Key of a JSON object that stands for something JSON lacks."""


def flatten_state(state: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Splits nested dictionaries, lists and tuples into tensors and JSON.

    Keeps the order and the type of keys (optimizers use integers), tuples, NaN and infinity,
    integers of any size. A tensor's name is its path in `state`.

    Args:
        state: None, bool, int, float, str, tensors, and mappings, lists and tuples of these.

    Returns:
        Tensors by name (detached, not copied), and the document.

    Raises:
        InvalidArgument: If something else is inside; the sentence says where.

    Example:
        >>> import torch
        >>> flatten_state({"step": 3, "moments": {0: torch.zeros(2)}})
        ... # doctest: +NORMALIZE_WHITESPACE
        ({'moments/0': tensor([0., 0.])},
         {'state': {'step': 3, 'moments': {'!': 'dict', 'items': [[0, {'!': 'tensor', 'name':
         'moments/0'}]]}}})
    """
    tensors: dict[str, Tensor] = {}
    return tensors, {"state": _encode(state, (), tensors)}


def unflatten_state(tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> Any:
    """The inverse of `flatten_state`.

    Raises:
        CorruptFile: If the document does not come from `flatten_state` or a tensor is missing.

    Example:
        >>> unflatten_state(*flatten_state({1: (float("inf"), None)}))
        {1: (inf, None)}
    """
    try:
        return _decode(document["state"], tensors)
    except (KeyError, TypeError, ValueError, struct.error) as error:
        raise CorruptFile(f"The stored state cannot be read: {error!r}.") from error


def _encode(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        bits = struct.pack(">d", value).hex()
        return value if math.isfinite(value) else {_TAG: "float", "bits": bits}
    if isinstance(value, Tensor):
        name = _free_name("/".join(path) or "state", tensors)
        tensors[name] = value.detach()
        return {_TAG: "tensor", "name": name}
    if type(value) is list:
        return [_encode(item, (*path, str(i)), tensors) for i, item in enumerate(value)]
    if type(value) is tuple:
        return {_TAG: "tuple", "items": _encode(list(value), path, tensors)}
    if isinstance(value, Mapping):
        items = [(key, _encode(item, (*path, str(key)), tensors)) for key, item in value.items()]
        if all(type(key) is str and key != _TAG for key, _ in items):
            return dict(items)
        keys = [_encode(key, (*path, "key"), tensors) for key, _ in items]
        return {
            _TAG: "dict",
            "items": [[key, item] for key, (_, item) in zip(keys, items, strict=True)],
        }
    place = "/".join(path) or "the state itself"
    raise InvalidArgument(
        f"`{place}` is a {type(value).__qualname__}, which a checkpoint cannot hold. "
        "Return numbers, texts, tensors and dictionaries or lists of them from `state_dict`."
    )


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    tag = value.get(_TAG)
    if tag is None:
        return {key: _decode(item, tensors) for key, item in value.items()}
    if tag == "tensor":
        return tensors[value["name"]]
    if tag == "float":
        return struct.unpack(">d", bytes.fromhex(value["bits"]))[0]
    if tag == "tuple":
        return tuple(_decode(value["items"], tensors))
    if tag == "dict":
        return {_decode(key, tensors): _decode(item, tensors) for key, item in value["items"]}
    raise ValueError(f"unknown tag {tag!r}")


def _free_name(name: str, taken: Mapping[str, Tensor]) -> str:
    """`name`, or with a number behind it: 0 and "0" are different keys with equal texts."""
    free, count = name, 1
    while free in taken or free == "__metadata__":
        free, count = f"{name}~{count}", count + 1
    return free
