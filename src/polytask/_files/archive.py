"""Tensors and one JSON document in one safetensors file, sealed by a checksum of every byte.

Nothing in such a file is ever executed: the reader knows raw arrays and JSON only. The
checksum finds damage; it is no signature, whoever writes the file can compute it.
"""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polytask.errors import CorruptFile, FileProblem, InvalidArgument

from .atomic import write_bytes

_DIGITS = 64
_UNSEALED = "0" * _DIGITS
_SEAL = b'{\\"sha256\\":\\"'
"""What stands before the checksum. The document is JSON inside a JSON string, so a text of the
document that looks like this is escaped once more and cannot be mistaken for it."""
_AGAIN = "Copy it again from where it was written, or write it again."


def write_archive(
    path: Path,
    tensors: Mapping[str, Tensor],
    document: Mapping[str, Any],
    *,
    kind: str,
    schema_version: int,
) -> str:
    r"""Writes `tensors` and `document` atomically, bit for bit.

    The file is a safetensors file whose metadata has one entry, ``polytask``: a JSON text with
    ``sha256``, ``kind``, ``schema_version`` and ``document``. With $F$ the bytes of the file,

    $$ \mathrm{sha256} = \mathrm{SHA256}(F \text{ with the 64 digits of the checksum set to } 0), $$

    so that names, types, shapes, values, the document and the padding are all covered. Equal
    arguments give equal bytes.

    Args:
        path: The file; its folder must exist.
        tensors: Any strides, devices and shared storage; bool, integer and floating types.
        document: JSON values; NaN is not one (see `flatten_state`).
        kind: What the file is, such as ``"bundle"``; the reader asks for it.
        schema_version: Version of the meaning of `document` and the tensor names.

    Returns:
        The checksum.

    Raises:
        InvalidArgument: If `document` holds something that is not JSON, or a tensor has a type or
            layout that the format lacks.
        FileProblem: As `write_bytes`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "a.safetensors"
        ...     weights = {"w": torch.ones(2)}
        ...     checksum = write_archive(path, weights, {"a": 1}, kind="demo", schema_version=1)
        ...     read_archive(path, kind="demo", schema_version=1)
        ({'w': tensor([1., 1.])}, {'a': 1})
    """
    data = bytearray(_serialize(tensors, document, kind, schema_version))
    start = _seal_position(data)
    if start is None:
        raise AssertionError("the checksum's place is not in the header that was just written")
    checksum = hashlib.sha256(data).hexdigest()
    data[start : start + _DIGITS] = checksum.encode("ascii")
    write_bytes(path, data)
    return checksum


def read_archive(
    path: Path, *, kind: str, schema_version: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The inverse of `write_archive`.

    Args:
        path: The file.
        kind: The kind that it must have.
        schema_version: The newest version that the caller understands; an older one is returned
            as it is, with its number in ``document["schema_version"]`` if the caller put it there.

    Returns:
        Tensors on the CPU, sorted by name, and the document.

    Raises:
        FileProblem: If the file is missing or unreadable.
        CorruptFile: If it is truncated, damaged, no polytask file, of another kind, or of a newer
            schema version.
    """
    data = _read(path)
    envelope = _envelope(path, data)
    start = _seal_position(data)
    if start is None or envelope.get("sha256") != _checksum(data, start):
        raise CorruptFile(f"`{path}` is damaged: its checksum does not fit its content. {_AGAIN}")
    if envelope["kind"] != kind:
        raise CorruptFile(f"`{path}` is a {envelope['kind']}, not a {kind}. Name another file.")
    if envelope["schema_version"] > schema_version:
        raise CorruptFile(
            f"`{path}` has schema version {envelope['schema_version']}; polytask "
            f"{version('polytask')} reads a {kind} up to version {schema_version}. "
            "Install a newer polytask."
        )
    from safetensors.torch import load

    document: dict[str, Any] = envelope["document"]
    # safetensors itself returns them in an order that differs from call to call.
    return dict(sorted(load(data).items())), document


def archive_checksum(path: Path) -> str:
    """The checksum as written in the file, unverified: the identity of its content."""
    return str(_envelope(path, _read(path)).get("sha256"))


def _serialize(
    tensors: Mapping[str, Tensor], document: Mapping[str, Any], kind: str, schema_version: int
) -> bytes:
    """The file with a checksum of zeros."""
    from safetensors import SafetensorError
    from safetensors.torch import save

    envelope = {
        "sha256": _UNSEALED,
        "kind": kind,
        "schema_version": schema_version,
        "document": document,
    }
    try:
        text = json.dumps(envelope, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"`document` must be JSON; {error}.") from error
    plain = {name: _plain(name, tensor) for name, tensor in tensors.items()}
    try:
        data: bytes = save(plain, metadata={"polytask": text})
    except (KeyError, SafetensorError) as error:
        raise InvalidArgument(f"`tensors` cannot be stored as safetensors: {error}.") from error
    return data


def _plain(name: str, tensor: Tensor) -> Tensor:
    """A dense, contiguous CPU tensor that owns exactly its storage."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise InvalidArgument(f"`tensors` must be dense; {name!r} is {tensor.layout}.")
    # `clone` always: views and tied tensors share storage, which the format refuses.
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileProblem(f"`{path}` does not exist. Check the path.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise FileProblem(f"`{path}` cannot be read: {reason}.") from error


def _envelope(path: Path, data: bytes) -> dict[str, Any]:
    """What the header says about the file; everything else in it is left to safetensors."""
    size = 8 + int.from_bytes(data[:8], "little")
    foreign = f"`{path}` is not a polytask file, or its beginning is damaged. {_AGAIN}"
    if len(data) < 8:
        raise CorruptFile(f"`{path}` is truncated: it has {len(data)} bytes. {_AGAIN}")
    if data[8:9] != b"{":
        raise CorruptFile(foreign)
    if len(data) < size:
        raise CorruptFile(
            f"`{path}` is truncated or damaged: it has {len(data)} bytes and its header says that "
            f"there are at least {size}. {_AGAIN}"
        )
    try:
        header = json.loads(data[8:size])
        envelope = json.loads(header["__metadata__"]["polytask"])
        end = max(
            (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"),
            default=0,
        )
        complete = set(envelope) == {"sha256", "kind", "schema_version", "document"}
        complete = complete and isinstance(envelope["document"], dict)
        complete = complete and isinstance(envelope["schema_version"], int)
        whole = len(data) >= size + end
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise CorruptFile(foreign) from error
    if not complete:
        raise CorruptFile(foreign)
    if not whole:
        raise CorruptFile(
            f"`{path}` is truncated: it has {len(data)} bytes of {size + end}. {_AGAIN}"
        )
    return dict(envelope)


def _seal_position(data: bytes | bytearray) -> int | None:
    """Where the digits of the checksum begin."""
    size = 8 + int.from_bytes(data[:8], "little")
    found = data.find(_SEAL, 8, size)
    return None if found < 0 else found + len(_SEAL)


def _checksum(data: bytes, start: int) -> str:
    view = memoryview(data)
    state = hashlib.sha256(view[:start])
    state.update(_UNSEALED.encode("ascii"))
    state.update(view[start + _DIGITS :])
    return state.hexdigest()
