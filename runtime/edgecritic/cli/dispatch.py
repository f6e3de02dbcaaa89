"""Finds the command, runs it, and turns what goes wrong into a line and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import EntryPoint
from typing import Any

from edgecritic.cli import batch, bundles, commands, demo, judge, models, serve
from edgecritic.cli.console import Console
from edgecritic.cli.options import TEXT_HELP
from edgecritic.errors import CriticError, InputError
from edgecritic.openmp import wait_briefly
from edgecritic.version import installed_version

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True)
class Command:
    """One command of edgecritic's own.

    Attributes:
        name: as it is typed.
        help: one line, lower case, no full stop.
        usage: what follows the name.
        add_options: puts its options on a parser.
        run: carries it out and returns the exit status.
        epilog: stands below the options' list.
    """

    name: str
    help: str
    usage: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Console], int]
    epilog: str | None = None


_TASK = "[options] [--image FILE] --question TEXT"
COMMANDS = (
    Command(
        "score",
        "score an answer about a picture, with probabilities and a reason",
        f"{_TASK} --response TEXT",
        judge.add_score,
        judge.score,
        TEXT_HELP,
    ),
    Command(
        "compare",
        "prefer the better of two answers, judged in both orders",
        f"{_TASK} --response TEXT --response TEXT",
        judge.add_compare,
        judge.compare,
        TEXT_HELP,
    ),
    Command(
        "rank",
        "put several answers into order",
        f"{_TASK} --response TEXT --response TEXT ...",
        judge.add_rank,
        judge.rank,
        TEXT_HELP,
    ),
    Command(
        "batch",
        "judge all rows of a table, and go on where it was stopped",
        "[options] TABLE --out FILE",
        batch.add_batch,
        batch.batch,
        batch.TABLE_HELP,
    ),
    Command(
        "demo",
        "judge the pictures that come with edgecritic",
        "[options]",
        demo.add_demo,
        demo.demo,
    ),
    Command(
        "serve",
        "answer over HTTP: a page, a native API, and OpenAI's protocol",
        "[options]",
        serve.add_serve,
        serve.serve,
    ),
    Command(
        "inspect",
        "show what a critic is made of, and what it is good for",
        "[options] [BUNDLE]",
        bundles.add_inspect,
        bundles.inspect,
    ),
    Command(
        "models",
        "fetch, list, check or remove critics, and tell whether they fit",
        "ACTION [options] [BUNDLE]",
        models.add_models,
        models.models,
    ),
)


class _Exacting(argparse.ArgumentParser):
    """A parser whose commands themselves refuse what they do not know, with their own usage.

    argparse collects what a command leaves over, and has the parser above it complain.
    """

    def parse_known_args(  # type: ignore[override]  # argparse's overloads say no more
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown


def build_parser(added: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of all commands.

    Args:
        added: names of commands that other packages bring, for the list only.
    """
    parser = _Exacting(
        prog="edgecritic",
        usage="edgecritic COMMAND [options]",
        description="Judges answers about pictures with a local critic.",
        epilog=f"Other packages add: {', '.join(added)}." if added else None,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    subparsers = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", prog="edgecritic"
    )
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            usage=f"edgecritic {command.name} {command.usage}",
            epilog=command.epilog,
            allow_abbrev=False,
        )
        command.add_options(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process when left out.

    Returns:
        The exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted.
    """
    console = Console.standard()
    wait_briefly()  # this process is ours, so its environment is, too
    try:
        status = _run(sys.argv[1:] if argv is None else list(argv), console)
        console.write("")  # what argparse printed may still have to be flushed
        return status
    except InputError as error:
        return _failed(error, USAGE, console)
    except CriticError as error:
        return _failed(error, FAILED, console)
    except KeyboardInterrupt:
        console.talk("\ninterrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the results has seen enough; Python must not complain about it at its exit.
        with suppress(OSError):  # stdout may be no file at all
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(argv: list[str], console: Console) -> int:
    own = {command.name for command in COMMANDS}
    added: dict[str, EntryPoint] = {}
    if not argv or argv[0] not in own:
        added = commands.installed()
    if not argv:
        console.line(build_parser(tuple(added)).format_help().rstrip())
        return USAGE
    if argv[0] in added:
        return commands.run(added[argv[0]], argv[1:])
    if argv[0] not in own and not argv[0].startswith("-"):
        raise _unknown(argv[0], (*(command.name for command in COMMANDS), *added))
    try:
        args = build_parser(tuple(added)).parse_args(argv)
    except SystemExit as stopped:  # argparse has said why
        return stopped.code if isinstance(stopped.code, int) else USAGE
    if args.version:
        console.line(f"edgecritic {installed_version()}")
        return DONE
    run: Callable[[argparse.Namespace, Console], int] = args.run
    return run(args, console)


def _unknown(name: str, known: Sequence[str]) -> InputError:
    close = get_close_matches(name, known, n=1)
    listed = f"the commands are {', '.join(known)}"
    return InputError(
        f"there is no command {name!r}", f"did you mean {close[0]}?" if close else listed
    )


def _failed(error: CriticError, status: int, console: Console) -> int:
    console.talk(f"edgecritic: error: {error.message}")
    if error.hint:
        console.talk(f"hint: {error.hint}")
    return status
