"""The version of this installation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    """Of the package; run from its sources, or frozen into an app, it is not known."""
    try:
        return version("edgecritic")
    except PackageNotFoundError:
        return "(version unknown: not installed as a package)"
