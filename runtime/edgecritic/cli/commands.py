"""Commands of other packages, found by their entry points, and groups of commands below them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from edgecritic.errors import CriticError, MissingExtraError

GROUP = "edgecritic.commands"
_USAGE = 2


def installed() -> dict[str, EntryPoint]:
    """Commands that installed packages add, by name."""
    return {point.name: point for point in sorted(entry_points(group=GROUP), key=_by_name)}


def _by_name(point: EntryPoint) -> str:
    return point.name


def run(point: EntryPoint, argv: Sequence[str]) -> int:
    """Run a command with the arguments behind its name.

    Returns:
        Its exit status; argparse's, where that has stopped it.

    Raises:
        MissingExtraError: it needs a package that is not installed.
        CriticError: what the entry point names is no command, or a file cannot be used.
    """
    try:
        command: Callable[[Sequence[str]], int] = point.load()
    except ImportError as error:
        raise _missing(point, f"cannot be loaded: {error}") from error
    except AttributeError as error:
        raise CriticError(
            f"the command {point.name!r} cannot be loaded: {error}",
            f"its package is broken: {point.value}",
        ) from error
    try:
        return command(argv)
    except SystemExit as stopped:  # argparse has said why
        return stopped.code if isinstance(stopped.code, int) else _USAGE
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CriticError(
            f"{point.name}: {error}", "check the path, its permissions and the free space"
        ) from error
    except ModuleNotFoundError as error:  # commands load their heavy packages when they need them
        if (error.name or "").startswith("edgecritic"):
            raise
        raise _missing(point, f"needs a package: {error}") from error


def _missing(point: EntryPoint, why: str) -> MissingExtraError:
    package = point.dist.name if point.dist else "the package"
    wanted = f"'{package}[{point.name}]'" if package == "edgecritic" else package
    return MissingExtraError(
        f"the command {point.name!r} {why}", f"install what it needs: pip install {wanted}"
    )


def group_parser(
    prog: str, description: str, commands: Mapping[str, str]
) -> argparse.ArgumentParser:
    """A parser whose help lists commands; what takes their arguments is the caller's.

    Args:
        prog: what is typed before their names, such as ``edgecritic train``.
        description: of all of them, a sentence.
        commands: by name what each does, in a few words.
    """
    width = max(map(len, commands)) + 2
    listed = "\n".join(f"  {name:<{width}}{does}" for name, does in commands.items())
    return argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} COMMAND [options]",
        description=description,
        epilog=f"commands:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def hand_over(
    prog: str, description: str, commands: Mapping[str, tuple[str, str]], argv: Sequence[str]
) -> int:
    """Run one of several commands, whose modules are imported only then.

    Args:
        prog: what is typed before their names, such as ``edgecritic train``.
        description: of all of them, a sentence.
        commands: by name the module whose `main` takes the arguments behind it and returns an
            exit status, and what it does, in a few words.
        argv: the arguments behind `prog`.

    Returns:
        The exit status; 2 where argparse refuses the arguments.

    Raises:
        CriticError: the command failed.
        ImportError: it needs a package that is not installed; `run` tells which.
    """
    parser = group_parser(prog, description, {name: does for name, (_, does) in commands.items()})
    parser.add_argument("command", choices=commands, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    if not argv:
        parser.print_help()
        return _USAGE
    try:
        args = parser.parse_args(argv)
        command: Callable[[Sequence[str]], int] = import_module(commands[args.command][0]).main
        return command(args.arguments)
    except SystemExit as stopped:  # argparse, here or in the command, has said why
        return stopped.code if isinstance(stopped.code, int) else _USAGE
