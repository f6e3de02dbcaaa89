"""YAML to frozen dataclasses: every key is known, every value has its type, or the file is refused.

The dataclass is the schema. A field's type is ``bool``, ``int``, ``float``, ``str``, ``Path``, one
of them or None, a `Literal`, a tuple of them, or another such dataclass for a section.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from edgecritic.errors import InputError, shown

Settings = TypeVar("Settings")

_DEEPEST: Final = 32
_MOST_VALUES: Final = 10_000
_KINDS: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
}


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    try:
        found = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        hint = "save it as UTF-8" if isinstance(error, UnicodeError) else "give a YAML file"
        if "'\\t'" in reason:
            hint = "indent with blanks, not with tabulators"
        raise InputError(f"{path} cannot be read: {reason}", hint) from error
    if not isinstance(found, dict):
        held = "nothing" if found is None else shown(found)
        raise InputError(f"{path} holds {held}, not settings", "write one `key: value` a line")
    return found


def assigned(assignments: Sequence[str]) -> dict[str, Any]:
    """The nested mapping that ``section.key=value`` assignments make; later ones win.

    Raises:
        InputError: an assignment has another form.
    """
    found: dict[str, Any] = {}
    for text in assignments:
        name, separator, value = text.partition("=")
        *sections, key = (part.strip() for part in name.split("."))
        if not separator or not all([*sections, key]):
            raise InputError(f"{shown(text)} sets nothing", "write --set section.key=value")
        place = found
        for section in sections:
            inner = place.setdefault(section, {})
            if not isinstance(inner, dict):
                raise InputError(f"{shown(text)} sets a key of a value", "write --set key=value")
            place = inner
        try:
            place[key] = _parsed(value)
        except ValueError as error:
            raise InputError(
                f"the value of {shown(text)} is no YAML", "put it in quotes"
            ) from error
    return found


def _parsed(text: str) -> Any:
    """What YAML says, in plain values.

    Raises:
        ValueError: it is none, or no settings that people write: a key is there twice, or values
            are nested deeper or, with all aliases written out, more than any settings are.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, 0)
        return loader.construct_document(node)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _count(node: Any, depth: int) -> int:
    """Values of a YAML node, with all aliases written out."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deep, or holds itself")
    if isinstance(node.value, str):
        return 1
    pairs = [part if isinstance(part, tuple) else (part,) for part in node.value]
    seen: set[str] = set()
    for key in (pair[0] for pair in pairs if len(pair) > 1 and isinstance(pair[0].value, str)):
        if key.value in seen:
            line = key.start_mark.line + 1
            raise ValueError(f"line {line} has the key {shown(key.value)} again")
        seen.add(key.value)
    n_values = 1
    for part in (part for pair in pairs for part in pair):
        n_values += _count(part, depth + 1)
        if n_values > _MOST_VALUES:
            raise ValueError(f"it holds more than {_MOST_VALUES:,} values, aliases written out")
    return n_values


def layered(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one; sections are merged key by key, elsewhere `above` wins."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            merged[key] = layered(under, value)
        else:
            merged[key] = value
    return merged


def read_settings(kind: type[Settings], data: object, where: str, section: str = "") -> Settings:
    """A mapping as an instance of a settings dataclass.

    Args:
        kind: the dataclass.
        data: from YAML.
        where: names the file in messages.
        section: dotted name of the section, for messages.

    Raises:
        InputError: an unknown key (the nearest known one is named), a missing one, or a value of
            another type or out of its range.
    """
    if not isinstance(data, Mapping):
        raise InputError(
            f"{where}: {section or 'the file'} is {shown(data)}, not a section",
            "write its keys below it, indented",
        )
    known = {field.name: field for field in fields(cast(Any, kind))}
    hints = get_type_hints(kind)
    for key in data:
        if key not in known:
            raise InputError(
                f"{where}: the key {shown(_dotted(section, str(key)))} is unknown",
                _nearest(str(key), list(known)),
            )
    for name, field in known.items():
        if name not in data and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{where}: {_dotted(section, name)} is missing", "add it to the file")
    values = {
        key: _value(hints[key], value, where, _dotted(section, key)) for key, value in data.items()
    }
    try:
        return kind(**values)
    except InputError as error:
        name = f"{section}." if section else ""
        raise InputError(f"{where}: {name}{error.message}", error.hint) from error


def plain(settings: object) -> Any:
    """The inverse of `read_settings`: what YAML and JSON can write."""
    if is_dataclass(settings) and not isinstance(settings, type):
        return {field.name: plain(getattr(settings, field.name)) for field in fields(settings)}
    if isinstance(settings, tuple):
        return [plain(item) for item in settings]
    return str(settings) if isinstance(settings, Path) else settings


def _value(hint: Any, value: object, where: str, name: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return read_settings(hint, {} if value is None else value, where, name)
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _value(next(kind for kind in inner if kind is not type(None)), value, where, name)
    if origin is tuple:
        listed = value if isinstance(value, list) else [value]
        return tuple(_value(inner[0], item, where, name) for item in listed)
    if origin is Literal:
        # YAML reads off and on as booleans.
        given = {False: "off", True: "on"}[value] if isinstance(value, bool) else value
        if given not in inner:
            raise InputError(
                f"{where}: {name} is {shown(value)}", f"write one of {', '.join(map(str, inner))}"
            )
        return given
    return _scalar(hint, value, where, name)


def _scalar(kind: type, value: object, where: str, name: str) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return home_expanded(value)
    if kind is float and isinstance(value, str):
        value = _yaml_float(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if kind is Path or not fits:
        raise InputError(f"{where}: {name} is {shown(value)}", f"write {_KINDS[kind]}")
    return value


def home_expanded(path: str) -> Path:
    """The path, in which a ``~`` in front is the home folder, as for transformers.

    Raises:
        InputError: there is no such home.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(f"the path {shown(path)} is none: {error}", "write it in full") from error


def _yaml_float(text: str) -> object:
    """YAML 1.1 takes 2e-5 for text, since it lacks the point."""
    try:
        return float(text)
    except ValueError:
        return text


def _nearest(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    listed = f"known keys: {', '.join(known)}"
    return f"did you mean {close[0]}? {listed}" if close else listed


def _dotted(section: str, key: str) -> str:
    return f"{section}.{key}" if section else key
