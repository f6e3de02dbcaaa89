"""YAML that people write is read; YAML that only breaks its reader is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgecritic.errors import InputError
from edgecritic_train.tuning.settings import assigned, read_yaml

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def _written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("base: a\nbase: b\n", "line 2 has the key 'base' again"),
        ("optimizer:\n  batch: 1\n  batch: 2\n", "line 3 has the key 'batch' again"),
        (f"{LAUGHS}base: *i\n", "more than 10,000 values"),
        ("base: &x\n  y: *x\n", "holds itself"),
        ("[" * 20_000, "nested too deep"),
        ("\n".join(" " * k + "a:" for k in range(2_000)), "nested too deep"),
        ("base: 2001-99-99\n", "month must be in"),
        ("base: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_what_no_settings_are_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read_yaml(_written(tmp_path, text))


@pytest.mark.parametrize(
    ("content", "cure"),
    [
        (b"base:\n\tmodel: a\n", "not with tabulators"),
        ("output: läufe\n".encode("latin-1"), "UTF-8"),
        (b"", "key: value"),
    ],
)
def test_what_mends_a_file_is_told(tmp_path: Path, content: bytes, cure: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_yaml(path)
    assert cure in caught.value.hint


def test_anchors_and_merged_keys_are_read(tmp_path: Path) -> None:
    text = "base: &b {model: a, revision: r}\ndata:\n  <<: *b\n  model: c\n"
    assert read_yaml(_written(tmp_path, text))["data"] == {"model": "c", "revision": "r"}


@pytest.mark.parametrize("value", ["2001-99-99", "[" * 20_000, "&x [*x]"])
def test_what_no_value_is_cannot_be_assigned(value: str) -> None:
    with pytest.raises(InputError, match="is no YAML"):
        assigned([f"seed={value}"])
