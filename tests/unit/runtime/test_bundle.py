"""Bundles: what is not exactly as its manifest says is refused, by name and with a hint."""

from __future__ import annotations

import copy
import json
import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgecritic import hashing
from edgecritic.bundle import Bundle, describe_file, write_bundle
from edgecritic.errors import ArtifactError
from edgecritic.manifest import (
    BundleFile,
    Calibration,
    DialectRef,
    Format,
    HubSource,
    Manifest,
    PypiSource,
    Role,
)
from edgecritic.profile import CriticProfile, tower_digest
from edgecritic.prompts import load_dialect
from edgecritic.task import Rubric
from edgecritic.vision import ImageGeometry

LANGUAGE_MODEL = BundleFile(
    role="language_model",
    path="model.gguf",
    sha256="b" * 64,
    size=98_362_432,
    quant="Q4_1",
    external=True,
    sources=(
        PypiSource("some-model", "0.1.2", "some_model/model.gguf"),
        HubSource("owner/some-model", "ab810cf", "model.gguf"),
    ),
)
GEOMETRY = ImageGeometry(tile_size=28, patch_size=14, pinpoints=((28, 28), (28, 56)))


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """Files that look like nothing but have content."""
    folder = tmp_path / "sources"
    folder.mkdir()
    np.save(folder / "newline.npy", np.linspace(-1, 1, 8, dtype=np.float32))
    (folder / "adapter.gguf").write_bytes(b"adapter")
    (folder / "mmproj.gguf").write_bytes(b"mmproj")
    return {
        "newline.npy": folder / "newline.npy",
        "lora/adapter.gguf": folder / "adapter.gguf",
        "mmproj.gguf": folder / "mmproj.gguf",
    }


@pytest.fixture
def manifest(sources: dict[str, Path]) -> Manifest:
    return Manifest(
        name="tiny",
        version="1.0",
        family="llava_onevision",
        files=(
            LANGUAGE_MODEL,
            describe_file("adapter", sources["lora/adapter.gguf"], "lora/adapter.gguf", "F16"),
            describe_file("mmproj", sources["mmproj.gguf"], quant="F16"),
            describe_file("image_newline", sources["newline.npy"]),
        ),
        base_model="owner/some-model",
        dialect=DialectRef("edgecritic-v1", load_dialect().digest),
        rubric=Rubric(1, 10),
        n_ctx=2048,
        image=GEOMETRY,
        calibration=Calibration(1.5, 0.75, 0.1),
        licence="Apache-2.0",
        training={"steps": 100, "data": ["drawn"]},
        verification={"passed": True, "rows": 40},
        good_for=("digits",),
        bad_for=("photographs",),
        created="2026-11-23",
    )


@pytest.fixture
def bundle(tmp_path: Path, manifest: Manifest, sources: dict[str, Path]) -> Bundle:
    return write_bundle(tmp_path / "bundle", manifest, sources)


def rewrite(bundle: Bundle, change: Callable[[dict[str, Any]], object]) -> None:
    path = bundle.folder / "critic.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


# --- what is right -----------------------------------------------------------------------------


def test_a_bundle_is_read_as_it_was_written(bundle: Bundle, manifest: Manifest) -> None:
    assert bundle.manifest == manifest
    assert Bundle.read(str(bundle.folder)) == bundle
    assert Bundle.read(bundle.folder / "critic.json") == bundle
    assert bundle.name == "tiny-1.0"
    assert bundle.dialect() == load_dialect()
    assert bundle.file("mmproj") == bundle.folder / "mmproj.gguf"
    assert bundle.file("adapter").read_bytes() == b"adapter"
    np.testing.assert_array_equal(bundle.image_newline(), np.linspace(-1, 1, 8, dtype=np.float32))
    assert sorted(path.name for path in bundle.folder.rglob("*")) == [
        "adapter.gguf",
        "critic.json",
        "lora",
        "mmproj.gguf",
        "newline.npy",
    ]


def test_the_description_is_json_with_the_folder(bundle: Bundle) -> None:
    described = bundle.describe()
    assert json.loads(json.dumps(described)) == described
    assert described["folder"] == str(bundle.folder)
    assert described["good_for"] == ["digits"]


def test_the_profile_of_a_bundle(bundle: Bundle) -> None:
    profile = CriticProfile.of(bundle)
    assert profile.name == "tiny-1.0"
    assert profile.calibration == Calibration(1.5, 0.75, 0.1)
    assert profile.vision is not None
    assert profile.vision.geometry == GEOMETRY
    assert profile.vision.tower == bundle.manifest.having("mmproj")[0].sha256


def test_a_critic_of_text_needs_no_vision(tmp_path: Path, manifest: Manifest) -> None:
    text_only = write_bundle(
        tmp_path / "b", replace(manifest, files=(LANGUAGE_MODEL,), image=None), {}
    )
    assert CriticProfile.of(text_only).vision is None


def test_writing_again_replaces(
    bundle: Bundle, manifest: Manifest, sources: dict[str, Path]
) -> None:
    sources["mmproj.gguf"].write_bytes(b"another tower")
    files = [describe_file("mmproj", sources["mmproj.gguf"], quant="F16")]
    kept = [file for file in manifest.files if file.role != "mmproj"]
    again = write_bundle(bundle.folder, replace(manifest, files=(*kept, *files)), sources)
    assert again.file("mmproj").read_bytes() == b"another tower"
    # A file that lies where it belongs already is left there.
    in_place = {path: bundle.folder / path for path in sources}
    assert write_bundle(bundle.folder, again.manifest, in_place) == again


@given(
    temperature=st.floats(0.01, 100),
    margin=st.floats(0, 10),
    n=st.integers(1, 100),
    words=st.lists(st.text(max_size=9), max_size=3),
    training=st.none() | st.text(max_size=5) | st.dictionaries(st.text(max_size=3), st.integers()),
    verification=st.none() | st.fixed_dictionaries({"passed": st.booleans()}),
    rounding=st.none() | st.fixed_dictionaries({"eight_bit_layers": st.lists(st.integers())}),
)
def test_manifests_round_trip(
    temperature: float,
    margin: float,
    n: int,
    words: list[str],
    training: object,
    verification: object,
    rounding: object,
) -> None:
    manifest = Manifest(
        "n", "1", "llava_onevision", (LANGUAGE_MODEL,), "base", DialectRef("d", "c" * 64),
        Rubric(n, 2 * n), 1, None, Calibration(temperature, 1.0, margin), "MIT", training,
        verification,
        tuple(words), (), "2026-11-23T10:00:00+00:00", rounding,
    )  # fmt: skip
    assert Manifest.from_dict("m", json.loads(json.dumps(manifest.to_dict()))) == manifest


# --- what is wrong with the manifest -----------------------------------------------------------


def at(*path: str | int, value: object) -> Callable[[dict[str, Any]], None]:
    """Sets a value deep inside."""

    def change(data: dict[str, Any]) -> None:
        inner: Any = data
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    change.__name__ = f"{'.'.join(map(str, path))}={value!r:.30}"
    return change


def without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    """Drops a key deep inside."""

    def change(data: dict[str, Any]) -> None:
        inner: Any = data
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]

    change.__name__ = f"without {'.'.join(map(str, path))}"
    return change


WRONG: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (at("schema", value=2), "schema 2"),
    (at("schema", value=True), "schema True"),
    (without("schema"), "schema None"),
    (without("name"), "lacks 'name'"),
    (at("nmae", value="x"), "unknown key 'nmae'"),
    (at("name", value="../x"), "name is '../x'"),
    (at("name", value=7), "name is 7"),
    (at("family", value="gpt"), "family 'gpt'"),
    (at("files", value={}), "files is {}"),
    (at("files", value=[]), "do not make a critic"),
    (at("files", 0, value="x"), r"files\[0\] is 'x', not an object"),
    (at("files", 1, "role", value="vae"), r"files\[1\]: role is 'vae'"),
    (at("files", 1, "size", value=-1), "size is -1"),
    (at("files", 1, "size", value=1.5), "size is 1.5"),
    (at("files", 1, "size", value=True), "size is True"),
    (at("files", 1, "sha256", value="B" * 64), "sha256"),
    (at("files", 1, "quant", value=None), "quant is None"),
    (at("files", 1, "path", value="/etc/passwd"), "'/etc/passwd' is not a path inside"),
    (at("files", 1, "path", value="../x"), "'../x' is not a path inside"),
    (at("files", 1, "path", value="a/../../x"), "is not a path inside"),
    (at("files", 1, "path", value="a\\..\\x"), "is not a path inside"),
    (at("files", 1, "path", value="C:x"), "is not a path inside"),
    (at("files", 1, "path", value="./x"), "is not a path inside"),
    (at("files", 1, "path", value="a//x"), "is not a path inside"),
    (at("files", 1, "path", value="."), "is not a path inside"),
    (at("files", 1, "path", value="mmproj.gguf"), "listed twice"),
    (at("files", 0, "path", value="a/model.gguf"), "path is 'a/model.gguf'"),
    (at("files", 0, "external", value="yes"), "external is 'yes'"),
    (at("files", 0, "external", value=False), "names its sources"),
    (without("files", 0, "sources"), "names its sources"),
    (at("files", 1, "sources", value=[]), None),
    (at("files", 0, "sources", 0, "kind", value="ftp"), "kind is 'ftp'"),
    (at("files", 0, "sources", 0, value=3), "kind is None"),
    (at("files", 0, "sources", 0, "package", value="--index-url=x"), "package is"),
    (at("files", 0, "sources", 0, "version", value="1 --pre"), "version is"),
    (at("files", 0, "sources", 0, "member", value="/x"), "member '/x'"),
    (at("files", 0, "sources", 1, "repo", value="x"), "repo is 'x'"),
    (at("files", 0, "role", value="adapter"), "do not make a critic"),
    (at("files", 0, "role", value="decoder"), "do not make a critic"),
    (at("verification", value={"rows": 3}), "whether it passed"),
    (at("verification", value=True), "whether it passed"),
    (at("image", value=None), "do not make a critic"),
    (at("image", value=3), "image is 3, not an object"),
    (at("image", "tile_size", value=-1), "image geometry"),
    (without("image", "mean"), r"missing fields \['mean'\]"),
    (at("image", "kind", value="fractal"), "kind is 'fractal', not 'native'"),
    (at("image", "kind", value="native"), "image geometry cannot be used: missing fields"),
    (at("dialect", "digest", value="0" * 64), "trained with prompts"),
    (at("dialect", "name", value="martian"), "no prompt dialect 'martian'"),
    (at("rubric", "low", value=10), "rubric range 10-10"),
    (at("rubric", "low", value="1"), "rubric low is '1'"),
    (at("n_ctx", value=0), "n_ctx is 0"),
    (at("calibration", "pointwise_temperature", value=0), "pointwise_temperature is 0"),
    (at("calibration", "pairwise_temperature", value=float("nan")), "'NaN' is no finite number"),
    (at("calibration", "tie_margin", value=10**400), "whole number has 401 digits"),
    (at("image", "mean", value=[10**400, 0, 0]), "whole number has 401 digits"),
    (at("training", "loss", value=float("inf")), "'Infinity' is no finite number"),
    (at("files", 1, "path", value="\ud800"), "surrogates not allowed"),
    (at("files", 1, "path", value="\x1b[2Jx"), "is not a path inside"),
    (at("family", value="x" * 9999), r"family 'x{60,90}\.\.\. is not one of"),
    (at("calibration", "tie_margin", value=-0.1), "tie_margin is -0.1"),
    (at("calibration", "tie_margin", value="0"), "tie_margin is '0'"),
    (at("calibration", "tie_margin", value=True), "tie_margin is True"),
    (at("licence", value=""), "licence is ''"),
    (at("good_for", value="digits"), "good_for is 'digits'"),
    (at("bad_for", value=[1]), r"bad_for is \[1\]"),
    (at("created", value="yesterday"), "created is no ISO date"),
    (at("base_model", value=["x" * 99]), r"base_model is \['xxx.*\.\.\., not"),
]


@pytest.mark.parametrize(("change", "named"), WRONG, ids=[change.__name__ for change, _ in WRONG])
def test_a_wrong_manifest_is_named(
    bundle: Bundle, change: Callable[[dict[str, Any]], object], named: str | None
) -> None:
    rewrite(bundle, change)
    if named is None:
        assert Bundle.read(bundle.folder) == bundle
        return
    with pytest.raises(ArtifactError, match=named) as caught:
        Bundle.read(bundle.folder)
    assert caught.value.hint


@given(data=st.data())
def test_no_damage_to_the_manifest_escapes_the_reader(data: st.DataObject) -> None:
    plain = Manifest(
        "n", "1", "llava_onevision", (LANGUAGE_MODEL,), "base", DialectRef("d", "c" * 64),
        Rubric(1, 10), 99, GEOMETRY, Calibration(), "MIT", None, None, (), (), "2026-11-23",
    ).to_dict()  # fmt: skip
    damaged = copy.deepcopy(plain)
    inner: Any = damaged
    while True:
        keys = sorted(inner) if isinstance(inner, dict) else range(len(inner))
        key = data.draw(st.sampled_from(list(keys)))
        deeper = isinstance(inner[key], dict | list) and inner[key]
        if not deeper or data.draw(st.booleans()):
            break
        inner = inner[key]
    scalars: st.SearchStrategy[object] = st.none() | st.booleans() | st.integers() | st.floats()
    inner[key] = data.draw(scalars | st.text() | st.just([]) | st.just({}))
    try:
        Manifest.from_dict("critic.json", damaged)
    except ArtifactError as error:
        named = "critic.json" in error.message or "image geometry" in error.message
        if not named:
            raise


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "nul", "\xff", "[" * 100_000, '"' + "x" * 2**20 + '"'),
        '{"a":' * 40 + "1" + "}" * 40,
        '{"schema": 1, "schema": 1}',
        '{"schema": 1e999}',
    ],
    ids=["empty", "cut", "list", "word", "latin-1", "deep", "huge", "deeper", "twice", "infinite"],
)
def test_what_is_no_json_object_is_named(bundle: Bundle, text: str) -> None:
    (bundle.folder / "critic.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match=r"critic\.json") as caught:
        Bundle.read(bundle.folder)
    assert caught.value.hint


def test_there_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no bundle at"):
        Bundle.read(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="no bundle at"):
        Bundle.read(tmp_path / "file")
    (tmp_path / "critic.json").mkdir()
    with pytest.raises(ArtifactError, match="cannot be read"):
        Bundle.read(tmp_path)


def test_no_embedded_critic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecritic.bundle.package_files", lambda package: tmp_path)
    with pytest.raises(ArtifactError, match="no embedded critic") as caught:
        Bundle.embedded()
    assert "name a bundle folder" in caught.value.hint


def test_the_embedded_critic(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle.folder.rename(bundle.folder.with_name("embedded"))
    monkeypatch.setattr("edgecritic.bundle.package_files", lambda package: bundle.folder.parent)
    assert Bundle.embedded().manifest == bundle.manifest


# --- what is wrong with the files --------------------------------------------------------------


def test_files_of_some_roles_are_verified_in_their_order(bundle: Bundle) -> None:
    found = bundle.files("mmproj", "adapter")
    assert [path.name for path in found] == ["adapter.gguf", "mmproj.gguf"]
    assert bundle.files("config", "external_data") == ()
    found[1].write_bytes(b"damage")
    with pytest.raises(ArtifactError, match=r"mmproj\.gguf is damaged"):
        bundle.files("mmproj", "adapter")


def test_a_missing_file(bundle: Bundle) -> None:
    (bundle.folder / "mmproj.gguf").unlink()
    with pytest.raises(ArtifactError, match=r"mmproj\.gguf is missing"):
        bundle.file("mmproj")


def test_a_file_of_another_size(bundle: Bundle) -> None:
    (bundle.folder / "mmproj.gguf").write_bytes(b"mmproj longer")
    with pytest.raises(ArtifactError, match="13 bytes, not 6"):
        bundle.file("mmproj")


def test_a_file_of_other_content_even_after_it_was_right(bundle: Bundle) -> None:
    path = bundle.file("mmproj")
    path.write_bytes(b"mmprok")
    os.utime(path, ns=(1, 1))
    with pytest.raises(ArtifactError, match="damaged: its sha256 is"):
        bundle.file("mmproj")


def test_each_state_of_a_file_is_hashed_once(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[Path] = []
    real = hashing.file_sha256

    def counting(path: Path) -> str:
        hashed.append(path)
        return real(path)

    monkeypatch.setattr(hashing, "file_sha256", counting)
    for _ in range(3):
        path = bundle.file("mmproj")
    assert len(hashed) == 1
    os.utime(path, ns=(5, 5))
    bundle.file("mmproj")
    assert len(hashed) == 2


def test_an_unreadable_file(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> str:
        raise OSError("input/output error")

    monkeypatch.setattr(hashing, "file_sha256", broken)
    with pytest.raises(ArtifactError, match="cannot be read: input/output error"):
        bundle.file("mmproj")


def test_a_link_may_not_leave_the_folder(bundle: Bundle, sources: dict[str, Path]) -> None:
    path = bundle.folder / "mmproj.gguf"
    path.unlink()
    path.symlink_to(sources["mmproj.gguf"])
    with pytest.raises(ArtifactError, match="leaves the bundle's folder"):
        bundle.file("mmproj")
    path.unlink()
    (bundle.folder / "real.gguf").write_bytes(b"mmproj")
    path.symlink_to("real.gguf")
    assert bundle.file("mmproj") == path


def test_links_in_a_circle(bundle: Bundle) -> None:
    path = bundle.folder / "mmproj.gguf"
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(ArtifactError, match=r"mmproj\.gguf (cannot be read|is missing)"):
        bundle.file("mmproj")


def test_a_role_that_is_not_there(tmp_path: Path, manifest: Manifest) -> None:
    text_only = replace(manifest, files=(LANGUAGE_MODEL,), image=None)
    bundle = write_bundle(tmp_path / "b", text_only, {})
    with pytest.raises(ArtifactError, match="lists 0 files as mmproj"):
        bundle.file("mmproj")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 4), dtype=np.float32),
        np.zeros(8, dtype=np.float64),
        np.array([1, np.nan], dtype=np.float32),
        np.array([{"a": 1}], dtype=object),
    ],
    ids=["matrix", "float64", "nan", "pickle"],
)
def test_a_newline_that_is_no_vector(
    tmp_path: Path, manifest: Manifest, sources: dict[str, Path], array: np.ndarray
) -> None:
    np.save(sources["newline.npy"], array, allow_pickle=True)
    check_newline(tmp_path, manifest, sources)


def npy(head: str, body: bytes = bytes(64)) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + body


def npy_of_shape(shape: str) -> bytes:
    return npy(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n")


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"\x93NUMPY\x01\x00",
        b"x" * (2**20 + 1),
        b"PK\x03\x04 no archive",
        npy_of_shape("(0,)"),
        npy_of_shape("(17,)"),
        npy_of_shape("(100000000000000,)"),  # as many bytes would be asked for
        npy_of_shape(f"({2**70},)"),
        npy_of_shape("(4,"),
        npy("(" * 9000),
        npy("-" * 9000 + "1"),
    ],
    ids=range(11),
)
def test_a_newline_that_is_no_array(
    tmp_path: Path, manifest: Manifest, sources: dict[str, Path], content: bytes
) -> None:
    sources["newline.npy"].write_bytes(content)
    check_newline(tmp_path, manifest, sources)


def check_newline(tmp_path: Path, manifest: Manifest, sources: dict[str, Path]) -> None:
    files = (*manifest.files[:-1], describe_file("image_newline", sources["newline.npy"]))
    bundle = write_bundle(tmp_path / "b", replace(manifest, files=files), sources)
    with pytest.raises(ArtifactError, match=r"newline\.npy"):
        bundle.image_newline()


# --- writing -----------------------------------------------------------------------------------


def test_nothing_is_written_when_a_source_is_missing_or_another(
    tmp_path: Path, manifest: Manifest, sources: dict[str, Path]
) -> None:
    with pytest.raises(ArtifactError, match=r"no content is given for mmproj\.gguf"):
        write_bundle(
            tmp_path / "b", manifest, {k: v for k, v in sources.items() if k != "mmproj.gguf"}
        )
    sources["mmproj.gguf"].write_bytes(b"mmprok")
    with pytest.raises(ArtifactError, match="damaged"):
        write_bundle(tmp_path / "b", manifest, sources)
    assert not (tmp_path / "b").exists()


def test_a_manifest_that_could_not_be_read_is_not_written(
    tmp_path: Path, manifest: Manifest, sources: dict[str, Path]
) -> None:
    with pytest.raises(ArtifactError, match="name is ''"):
        write_bundle(tmp_path / "b", replace(manifest, name=""), sources)
    assert not (tmp_path / "b").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_manifest_that_never_ends_is_not_read(bundle: Bundle) -> None:
    path = bundle.folder / "critic.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ArtifactError, match="is no plain file"):
        Bundle.read(bundle.folder)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(ArtifactError, match="is no plain file"):
        Bundle.read(bundle.folder)


def test_a_file_whose_times_were_set_back_is_hashed_again(bundle: Bundle) -> None:
    path = bundle.file("mmproj")
    before = path.stat()
    path.write_bytes(b"mmprok")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(ArtifactError, match="damaged: its sha256 is"):
        bundle.file("mmproj")


# --- formats ------------------------------------------------------------------------------------


def listed(*roles: Role) -> tuple[BundleFile, ...]:
    return tuple(
        BundleFile(role, f"{number}.bin", f"{number:064x}", 1) for number, role in enumerate(roles)
    )


ONNX: tuple[Role, ...] = ("decoder", "embed_tokens", "tokenizer", "vision_encoder")


@pytest.mark.parametrize(
    ("roles", "formats"),
    [
        (("language_model", "mmproj", "adapter"), ("gguf",)),
        (ONNX, ("onnx",)),
        ((*ONNX, "external_data", "external_data", "config"), ("onnx",)),
        (("checkpoint", "checkpoint", "config"), ("hf",)),
        (("language_model", "mmproj", *ONNX, "checkpoint"), ("gguf", "onnx", "hf")),
    ],
)
def test_a_bundle_holds_one_format_or_several(
    bundle: Bundle, roles: tuple[Role, ...], formats: tuple[str, ...]
) -> None:
    manifest = replace(bundle.manifest, files=listed(*roles, "image_newline"))
    read = Manifest.from_dict("m", json.loads(json.dumps(manifest.to_dict())))
    assert read.formats == formats


@pytest.mark.parametrize(
    "roles",
    [
        ONNX[:-1],
        ONNX[1:],
        (*ONNX, "mmproj"),
        (*ONNX, "adapter"),
        (*ONNX, "decoder"),
        ("checkpoint", "external_data"),
        ("config",),
    ],
)
def test_a_format_that_lacks_a_file_is_refused(bundle: Bundle, roles: tuple[Role, ...]) -> None:
    manifest = replace(bundle.manifest, files=listed(*roles, "image_newline"))
    with pytest.raises(ArtifactError, match="do not make a critic"):
        Manifest.from_dict("m", json.loads(json.dumps(manifest.to_dict())))


def test_a_tower_is_named_by_its_own_file_or_by_all_that_may_hold_it(bundle: Bundle) -> None:
    def named(*roles: Role, format_: Format) -> str:
        return tower_digest(replace(bundle.manifest, files=listed(*roles)), format_)

    assert named("mmproj", "language_model", format_="gguf") == f"{0:064x}"
    plain = named("vision_encoder", "decoder", format_="onnx")
    outside = named("vision_encoder", "decoder", "external_data", format_="onnx")
    other = named("vision_encoder", "external_data", "decoder", format_="onnx")
    assert len({plain, outside, other}) == 3
    assert named("checkpoint", format_="hf") != named("config", "checkpoint", format_="hf")
