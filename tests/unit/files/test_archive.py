import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask._files import archive_checksum, read_archive, write_archive
from polytask.errors import CorruptFile, FileProblem, InvalidArgument

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
]


def write(path, tensors=None, document=None, kind="bundle", version=1):
    tensors = {"w": torch.arange(6.0).view(2, 3)} if tensors is None else tensors
    return write_archive(path, tensors, document or {}, kind=kind, schema_version=version)


def read(path, kind="bundle", version=1):
    return read_archive(path, kind=kind, schema_version=version)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "a.safetensors"
    document = {"columns": ["é", "日本", 'q"uote', "tab\t", "\u001f"], "n": [1, 2.5, None, True]}
    write(path, {"w": torch.arange(7.0), "flag": torch.tensor([True, False])}, document)
    return path


def one_sentence(error):
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 3), (2, 3)], ids=str)
def test_every_type_and_shape_bit_for_bit(tmp_path, dtype, shape):
    tensor = torch.randint(0, 2, shape).to(dtype)
    write(tmp_path / "a", {"x": tensor})
    back = read(tmp_path / "a")[0]["x"]
    assert back.dtype == dtype
    assert back.shape == tensor.shape
    assert torch.equal(back, tensor)


@pytest.mark.parametrize(
    ("integer", "floating"),
    [(torch.int16, torch.float16), (torch.int32, torch.float32), (torch.int64, torch.float64)],
)
def test_payloads_of_nan_survive(tmp_path, integer, floating):
    limits = torch.iinfo(integer)
    bits = torch.randint(limits.min, limits.max, (4096,), dtype=integer)
    values = bits.view(floating)
    assert values.isnan().any()
    write(tmp_path / "a", {"x": values})
    assert torch.equal(read(tmp_path / "a")[0]["x"].view(integer), bits)


def test_views_and_tied_tensors(tmp_path):
    base = torch.arange(12.0).view(3, 4)
    tensors = {
        "base": base,
        "same": base,
        "transposed": base.t(),
        "column": base[:, 1],
        "expanded": torch.ones(1).expand(5),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    write(tmp_path / "a", tensors)
    back, _ = read(tmp_path / "a")
    assert set(back) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(back[name], tensor), name


def test_order_of_names(tmp_path):
    names = [f"n{i}" for i in range(40)]
    write(tmp_path / "a", {name: torch.ones(1) for name in reversed(names)})
    assert list(read(tmp_path / "a")[0]) == sorted(names)


def test_no_tensors_at_all(tmp_path):
    write(tmp_path / "a", {}, {"a": [1]})
    assert read(tmp_path / "a") == ({}, {"a": [1]})


@pytest.mark.parametrize(
    "document",
    [
        {"z": 1, "a": {"10": None, "9": [True, -0.0, 1e-300, 2**70]}},
        {"text": "é \u2028 \x00 \ud800 日本"},
        {"mimic": '{"sha256":"' + "0" * 64 + '"}'},
    ],
)
def test_documents(tmp_path, document):
    write(tmp_path / "a", None, document)
    back = read(tmp_path / "a")[1]
    assert back == document
    assert json.dumps(back) == json.dumps(document), "order and sign of zero are kept"


def test_equal_content_gives_equal_bytes(tmp_path):
    one = write(tmp_path / "a", {"b": torch.ones(2), "a": torch.zeros(1)})
    two = write(tmp_path / "b", {"a": torch.zeros(1), "b": torch.ones(2)})
    assert one == two == archive_checksum(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "other",
    [
        {"tensors": {"v": torch.arange(6.0).view(2, 3)}},
        {"tensors": {"w": torch.arange(6.0).view(3, 2)}},
        {"tensors": {"w": torch.arange(6.0).view(2, 3).view(torch.int32)}},
        {"tensors": {"w": -torch.arange(6.0).view(2, 3)}},
        {"document": {"a": 1}},
        {"kind": "checkpoint"},
        {"version": 2},
    ],
    ids=["name", "shape", "type", "value", "document", "kind", "version"],
)
def test_the_checksum_covers(tmp_path, other):
    assert write(tmp_path / "a") != write(tmp_path / "b", **other)


def test_the_file_is_plain_safetensors(good):
    from safetensors import safe_open

    with safe_open(good, "pt") as file:
        assert set(file.keys()) == {"w", "flag"}
        envelope = json.loads(file.metadata()["polytask"])
    assert envelope["kind"] == "bundle"
    assert envelope["schema_version"] == 1


@pytest.mark.parametrize("tenth", range(10))
def test_truncated_at_every_tenth(good, tmp_path, tenth):
    data = good.read_bytes()
    path = tmp_path / "a"
    path.write_bytes(data[: len(data) * tenth // 10])
    with pytest.raises(CorruptFile) as caught:
        read(path)
    assert "truncated" in one_sentence(caught)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_flipped_byte_is_noticed(good, data):
    content = bytearray(good.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path = good.with_name("flipped")
    path.write_bytes(content)
    with pytest.raises(CorruptFile) as caught:
        read(path)
    one_sentence(caught)


def test_every_position_with_one_flipped_bit(good):
    # 0x20 turns letters of a number in base 16 into capitals: equal JSON, another file.
    original = good.read_bytes()
    path = good.with_name("bit")
    for position in range(len(original)):
        content = bytearray(original)
        content[position] ^= 0x20
        path.write_bytes(content)
        with pytest.raises(CorruptFile):
            read(path)


def test_a_checksum_of_the_parsed_content_would_miss_a_flip(good):
    # The subtly wrong design: JSON that is parsed and then hashed does not see this flip.
    content = good.read_bytes()
    position = content.index(b"\\u00e9") + 4
    flipped = bytearray(content)
    flipped[position] ^= 0x20
    size = int.from_bytes(content[:8], "little")
    assert json.loads(json.loads(flipped[8 : 8 + size])["__metadata__"]["polytask"]) == json.loads(
        json.loads(content[8 : 8 + size])["__metadata__"]["polytask"]
    )
    path = good.with_name("capital")
    path.write_bytes(flipped)
    with pytest.raises(CorruptFile, match="checksum does not fit"):
        read(path)


def test_appended_bytes(good, tmp_path):
    (tmp_path / "a").write_bytes(good.read_bytes() + b"\0")
    with pytest.raises(CorruptFile, match="damaged"):
        read(tmp_path / "a")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 a zip file, such as torch.save writes",
        b"a,b\n1,2\n" * 5,
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 4) + b"{[]}",
        struct.pack("<Q", 35) + b'{"__metadata__":{"polytask":"true"}}'[:35],
        struct.pack("<Q", 21) + b'{"__metadata__":{}}  ',
        struct.pack("<Q", 60_000) + b'{"a":' + b"[" * 59_995,
    ],
)
def test_files_of_others(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(CorruptFile) as caught:
        read(tmp_path / "a")
    assert f"`{tmp_path / 'a'}`" in one_sentence(caught)


def test_safetensors_of_others(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "a")
    with pytest.raises(CorruptFile, match="not a polytask file"):
        read(tmp_path / "a")


def test_another_kind(tmp_path):
    write(tmp_path / "a", kind="checkpoint")
    with pytest.raises(CorruptFile, match="is a checkpoint, not a bundle"):
        read(tmp_path / "a")


def test_newer_schema(tmp_path):
    write(tmp_path / "a", version=2)
    with pytest.raises(CorruptFile, match=r"schema version 2;.*Install a newer polytask"):
        read(tmp_path / "a")
    assert read(tmp_path / "a", version=3)[0]["w"].shape == (2, 3)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileProblem, match="does not exist"):
        read(tmp_path / "nothing")
    with pytest.raises(FileProblem, match="cannot be read: is a directory"):
        read(tmp_path)


@pytest.mark.parametrize("document", [{"a": float("nan")}, {"a": {1, 2}}, {"a": Path("x")}])
def test_document_that_is_not_json(tmp_path, document):
    with pytest.raises(InvalidArgument, match="`document` must be JSON"):
        write(tmp_path / "a", None, document)
    assert not (tmp_path / "a").exists()


def test_sparse_tensor(tmp_path):
    with pytest.raises(InvalidArgument, match=r"'w' is torch\.sparse_coo"):
        write(tmp_path / "a", {"w": torch.eye(2).to_sparse()})


def test_type_that_the_format_lacks(tmp_path):
    with pytest.raises(InvalidArgument, match="cannot be stored"):
        write(tmp_path / "a", {"w": torch.ones(1, dtype=torch.complex128)})


def test_document_too_large_for_a_header(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(InvalidArgument, match="cannot be stored"):
        write(path, None, {"a": "x" * 100_000_001})
    assert path.read_bytes() == b"old"
