"""``serve``: the critic behind HTTP."""

from __future__ import annotations

import argparse
import logging
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from edgecritic.cli.bundles import EMBEDDED, read_bundle
from edgecritic.cli.console import Console
from edgecritic.cli.options import add_engine_choice, at_least
from edgecritic.errors import InputError, MissingExtraError
from edgecritic.version import installed_version

if TYPE_CHECKING:
    from edgecritic.server import ServedModel, ServerOptions

_PORT = 8642
_HIGHEST_PORT = 65535
_MAX_TOKEN_BYTES = 4096


def add_serve(parser: argparse.ArgumentParser) -> None:
    """Options of ``serve``."""
    _add_address(parser.add_argument_group("address"))
    _add_access(parser.add_argument_group("access"))
    _add_work(parser.add_argument_group("work"))
    _add_critic(parser.add_argument_group("critic"))


def _add_address(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="HOST",
        help="address to listen on; others than this machine need a token; default: 127.0.0.1",
    )
    group.add_argument(
        "--port",
        type=_port,
        default=_PORT,
        metavar="N",
        help=f"0 for any that is free; default: {_PORT}",
    )
    group.add_argument(
        "--parent-pid",
        type=at_least(1),
        metavar="N",
        help="run as the sidecar of that process: print one line of JSON with port and token when "
        "ready, and end with it",
    )


def _add_access(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--token-file", metavar="FILE", help="holds the token that requests have to carry"
    )
    group.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name that the server may be called by; repeat for several",
    )
    group.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="URL",
        help="a web page elsewhere that may call it, as https://app.example; repeat for several",
    )
    group.add_argument(
        "--allow-image-host",
        action="append",
        default=[],
        metavar="HOST",
        help="fetch pictures that requests name from this host; default: none is fetched",
    )


def _add_work(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--queue",
        type=at_least(0),
        default=64,
        metavar="N",
        help="requests that may wait for their turn; default: 64",
    )
    group.add_argument(
        "--parallel",
        type=at_least(1),
        default=8,
        metavar="N",
        help="requests that a model works at together; default: 8",
    )
    group.add_argument(
        "--idle-unload",
        type=at_least(0),
        default=0,
        metavar="S",
        help="unload a model that was not asked for S seconds; 0, the default, never does",
    )
    group.add_argument(
        "--no-kits",
        dest="kits",
        action="store_false",
        help="answer the prompts of known evaluation kits by generated text like any other",
    )


def _add_critic(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--bundle",
        action="append",
        default=[],
        metavar="DIR",
        help="folder with a critic.json; repeat for several; default: the embedded critic",
    )
    add_engine_choice(group)


def _port(text: str) -> int:
    port = at_least(0)(text)
    if port > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: the highest is {_HIGHEST_PORT}")
    return port


def serve(args: argparse.Namespace, console: Console) -> int:
    """Serve until the process is told to stop."""
    try:
        from edgecritic.server.running import bound, run
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise MissingExtraError(
            f"the server needs a package: {error}", "pip install 'edgecritic[serve]'"
        ) from error
    models, options = _models(args), _options(args)
    with bound(args.host, args.port) as listening:
        port: int = listening.getsockname()[1]

        def ready() -> None:
            if args.parent_pid is None:
                _welcome(options, port, console)
            else:
                console.json(
                    {
                        "port": port,
                        "token": options.token,
                        "pid": os.getpid(),
                        "version": installed_version(),
                    }
                )

        logging.basicConfig(level=logging.WARNING, format="edgecritic: %(message)s")
        logging.getLogger("edgecritic.server").setLevel(logging.INFO)
        run(models, options, listening, ready, args.parent_pid)
    return 0


def _models(args: argparse.Namespace) -> tuple[ServedModel, ...]:
    from edgecritic.server.catalogue import BundleSource, catalogue

    found = []
    for name in args.bundle or [EMBEDDED]:
        folder = None if name == EMBEDDED else str(Path(name).absolute())
        source = BundleSource(folder, args.backend, args.device, args.threads)
        found.append((read_bundle(name), source))
    return catalogue(found)


def _options(args: argparse.Namespace) -> ServerOptions:
    from edgecritic.server.options import ServerOptions, is_loopback

    token = _read_token(args.token_file) if args.token_file else ""
    if not token and (args.parent_pid is not None or not is_loopback(args.host)):
        token = secrets.token_urlsafe(32)
    return ServerOptions(
        host=args.host,
        token=token,
        queue=args.queue,
        parallel=args.parallel,
        idle_unload_s=args.idle_unload,
        allowed_hosts=tuple(args.allow_host),
        allowed_origins=tuple(args.allow_origin),
        image_hosts=tuple(args.allow_image_host),
        kits=args.kits,
    )


def _read_token(name: str) -> str:
    try:
        with Path(name).open("rb") as file:
            token = file.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
    except (OSError, ValueError) as error:
        raise InputError(
            f"--token-file {name!r} cannot be read: {error}", "write one line of ASCII into it"
        ) from error
    if not token or not token.isprintable() or " " in token:
        raise InputError(
            f"--token-file {name!r} holds no token (its content is not shown)",
            "write one line of letters and digits into it",
        )
    return token


def _welcome(options: ServerOptions, port: int, console: Console) -> None:
    host = f"[{options.host}]" if ":" in options.host else options.host
    page = f"http://{host}:{port}/" + (f"#token={options.token}" if options.token else "")
    console.talk(f"edgecritic serves at {page}\nOpenAI's base URL: http://{host}:{port}/v1")
    console.talk("Ctrl-C stops it")
