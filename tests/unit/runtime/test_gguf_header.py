"""The header reader accepts what gguf-py writes and refuses everything else with one error."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edgecritic.backends.llamacpp.artifacts import check_language_model
from edgecritic.errors import ArtifactError
from edgecritic.gguf_header import GgufHeader, read_header
from edgecritic_export.gguf.file import write_gguf
from tiny_models import TinyModels

HEAD = b"GGUF" + struct.pack("<I", 3)


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write_gguf(
        path,
        "llama",
        {"a.count": 3, "a.name": "é", "a.ratio": 0.5, "a.on": True, "a.list": (1, 2), "a.eps": ()},
        {"vector": np.arange(5, dtype=np.float32), "matrix": np.ones((3, 4), dtype=np.float16)},
    )
    return path


@pytest.fixture
def header(small_file: Path) -> GgufHeader:
    return read_header(small_file)


def test_it_reads_what_gguf_py_writes(header: GgufHeader, small_file: Path) -> None:
    assert header.text("a.name") == "é"
    assert header.count("a.count") == 3
    assert header.number("a.ratio", 0, 1) == 0.5
    assert header.metadata["a.on"] is True
    assert header.array("a.list", "int32").items == (1, 2)
    assert header.types["a.count"] == "uint32"
    assert header.tensor("matrix").shape == (4, 3)
    reference = {tensor.name: tensor for tensor in GGUFReader(small_file).tensors}
    for name, claim in header.tensors.items():
        assert claim.n_bytes == reference[name].n_bytes
        assert claim.start == reference[name].data_offset


def test_every_tensor_of_a_model_is_where_gguf_py_finds_it(tiny_models: TinyModels) -> None:
    header = read_header(tiny_models.language_model)
    found = {tensor.name: tensor.data_offset for tensor in GGUFReader(header.path).tensors}
    assert {name: claim.start for name, claim in header.tensors.items()} == found
    tokens = header.array("tokenizer.ggml.tokens", "string")
    assert tokens.items is None
    assert tokens.distinct == tokens.length


def test_a_wrong_question_names_key_and_value(header: GgufHeader) -> None:
    with pytest.raises(ArtifactError, match=r"a\.count should be a string, is 3"):
        header.text("a.count")
    with pytest.raises(ArtifactError, match=r"a\.name should be an integer from 1 to 9, is 'é'"):
        header.count("a.name", limit=9)
    with pytest.raises(ArtifactError, match=r"a\.on should be an integer"):
        header.count("a.on")
    with pytest.raises(ArtifactError, match=r"a\.ratio should be a number from 0 to 0\.1"):
        header.number("a.ratio", 0, 0.1)
    with pytest.raises(ArtifactError, match=r"a\.list should be an array of string"):
        header.array("a.list", "string")
    with pytest.raises(ArtifactError, match="tensor absent is missing"):
        header.tensor("absent")
    assert header.count("absent", default=4) == 4


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="cannot read"):
        read_header(tmp_path / "absent.gguf")
    with pytest.raises(ArtifactError, match="cannot read"):
        read_header(tmp_path)
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(ArtifactError, match="is empty"):
        read_header(tmp_path / "empty.gguf")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GGML" + bytes(20), "starts with b'GGML'"),
        (b"GG", "starts with b'GG'"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (HEAD + struct.pack("<QQ", 1 << 40, 0), "number of tensors is 1099511627776"),
        (HEAD + struct.pack("<QQ", 0, 1 << 40), "number of keys is 1099511627776"),
        (HEAD + struct.pack("<QQQ", 0, 1, 1 << 60), "length of a string"),
        (HEAD + struct.pack("<QQ", 0, 1) + string(b"\xff") + bytes(8), "not UTF-8"),
        (HEAD + struct.pack("<QQ", 0, 1) + string(b"k") + struct.pack("<I", 99), "type 99"),
        (
            HEAD + struct.pack("<QQ", 0, 1) + string(b"k") + struct.pack("<IIQ", 9, 6, 1 << 50),
            "length of an array",
        ),
        (
            HEAD + struct.pack("<QQ", 0, 1) + string(b"k") + struct.pack("<IIQ", 9, 6, 1000),
            "within its header",
        ),
        (
            HEAD + struct.pack("<QQ", 0, 1) + string(b"k") + struct.pack("<IIQ", 9, 9, 1),
            "an array of array",
        ),
        (
            HEAD + struct.pack("<QQ", 0, 2) + 2 * (string(b"k") + struct.pack("<IB", 0, 1)),
            "appears twice",
        ),
        (
            HEAD
            + struct.pack("<QQ", 0, 1)
            + string(b"general.alignment")
            + struct.pack("<IQ", 10, 32),
            "general.alignment is of type uint64",
        ),
        (
            HEAD
            + struct.pack("<QQ", 0, 1)
            + string(b"k")
            + struct.pack("<IIQQ", 9, 8, 65, 1 << 40),
            "a string of 1099511627776 bytes in an array",
        ),
        (
            HEAD + struct.pack("<QQ", 0, 1) + string(b"k") + struct.pack("<IIQ", 9, 8, 65),
            "ends within an array of strings",
        ),
        (
            HEAD
            + struct.pack("<QQ", 0, 1)
            + string(b"k")
            + struct.pack("<IIQ", 9, 8, 65)
            + 64 * string(b"a")
            + struct.pack("<Q", 9),
            "ends within an array of strings",
        ),
        (
            HEAD + struct.pack("<QQ", 1, 0) + string(b"t") + struct.pack("<IQIQ", 1, 8, 99, 0),
            "unknown type 99",
        ),
        (
            HEAD + struct.pack("<QQ", 1, 0) + string(b"t") + struct.pack("<IQIQ", 1, 33, 2, 0),
            r"shape \(33,\)",
        ),
        (
            HEAD + struct.pack("<QQ", 1, 0) + string(b"t") + struct.pack("<IIQ", 0, 0, 0),
            r"shape \(\)",
        ),
        (
            HEAD
            + struct.pack("<QQ", 1, 0)
            + string(b"t")
            + struct.pack("<IQQIQ", 2, 1 << 40, 1 << 40, 0, 0),
            "behind the end of the file",
        ),
        (
            HEAD
            + struct.pack("<QQ", 0, 1)
            + string(b"general.alignment")
            + struct.pack("<II", 4, 7),
            "alignment is 7",
        ),
    ],
)
def test_impossible_claims(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "claims.gguf"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=message) as caught:
        read_header(path)
    assert "damaged" in caught.value.hint


@given(data=st.data())
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_change_is_read_or_refused(
    small_file: Path, tmp_path: Path, data: st.DataObject
) -> None:
    original = small_file.read_bytes()
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(original)))
    path = tmp_path / "changed.gguf"
    path.write_bytes(changed[: end if data.draw(st.booleans()) else None])
    try:
        header = read_header(path)
    except ArtifactError:
        return
    assert all(
        claim.start + claim.n_bytes <= path.stat().st_size for claim in header.tensors.values()
    )


@given(junk=st.binary(max_size=200))
@example(junk=b"")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_behind_a_valid_start(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "junk.gguf"
    path.write_bytes(HEAD + struct.pack("<QQ", 1, 1) + junk)
    with pytest.raises(ArtifactError):
        read_header(path)


def test_long_texts_of_a_file_do_not_flood_messages(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    write_gguf(path, "x" * 500_000, {"k" * 60_000: 1}, {"vector": np.ones(1, dtype=np.float32)})
    with pytest.raises(ArtifactError, match="no language model") as caught:
        check_language_model(path)
    assert len(str(caught.value)) < 600
    once = string(b"k" * 60_000) + struct.pack("<IB", 0, 0)
    path.write_bytes(HEAD + struct.pack("<QQ", 0, 2) + once * 2)
    with pytest.raises(ArtifactError, match="appears twice") as caught:
        read_header(path)
    assert len(str(caught.value)) < 600
