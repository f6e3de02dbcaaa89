"""``models``: fetch critics, see what is here, check it, and whether it fits this machine."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgecritic.cli import bundles, cards
from edgecritic.cli.bundles import EMBEDDED, read_bundle
from edgecritic.cli.console import Console
from edgecritic.cli.options import at_least
from edgecritic.cli.terminal import Style, clean
from edgecritic.errors import ArtifactError

if TYPE_CHECKING:
    from edgecritic.bundle import Bundle
    from edgecritic.fit.estimate import Estimate
    from edgecritic.fit.machine import Machine
    from edgecritic.kept import Kept
    from edgecritic.manifest import BundleFile

_SIZE = re.compile(r"([1-9]\d{0,5})x([1-9]\d{0,5})")
_MIB = 2**20


def add_models(parser: argparse.ArgumentParser) -> None:
    """The commands below ``models``."""
    commands = parser.add_subparsers(
        dest="action",
        required=True,
        metavar="ACTION",
        title="actions",
        prog="edgecritic models",
    )
    for name, help_text, add in (
        ("list", "say what is in the cache folder, or which files a bundle has", _json),
        ("pull", "fetch a bundle from the hub, or the files that one keeps elsewhere", _force),
        ("verify", "check size and sha256 of every file", _json),
        ("inspect", "show what a critic is made of, and what it is good for", _json),
        ("estimate", "tell what a critic takes here: disk, memory, time", _estimate_options),
        ("rm", "remove a bundle, and what was made of it, from the cache folder", _nothing),
    ):
        bundle = "BUNDLE" if name == "rm" else "[BUNDLE]"
        default = "the cache folder" if name == "list" else EMBEDDED
        action = commands.add_parser(
            name,
            help=help_text,
            description=f"{help_text[0].upper()}{help_text[1:]}.",
            usage=f"edgecritic models {name} [options] {bundle}",
            allow_abbrev=False,
        )
        action.add_argument(
            "bundle",
            nargs=None if name == "rm" else "?",
            default=None if name == "list" else EMBEDDED,
            metavar="BUNDLE",
            help="embedded, a folder with a critic.json, or owner/name[@revision] on the hub"
            + (", or form:... as list shows it" if name == "rm" else f"; default: {default}"),
        )
        add(action)


def _nothing(action: argparse.ArgumentParser) -> None:
    """No options."""


def _json(action: argparse.ArgumentParser) -> None:
    action.add_argument("--json", action="store_true", help="JSON Lines instead of text")


def _force(action: argparse.ArgumentParser) -> None:
    action.add_argument("--force", action="store_true", help="even what cannot fit this machine")


def _estimate_options(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--image-size", type=_size, default=(1024, 768), metavar="WxH", help="default: 1024x768"
    )
    action.add_argument(
        "--responses",
        type=at_least(1),
        default=1,
        metavar="K",
        help="one is scored, of several all ordered pairs are judged; default: 1",
    )
    action.add_argument(
        "--response-tokens", type=at_least(1), default=24, metavar="N", help="default: 24"
    )
    action.add_argument(
        "--backend", default="auto", metavar="NAME", help="auto, llamacpp, inferna or onnx"
    )
    action.add_argument(
        "--gpu", action="store_true", help="all layers on a GPU: computed, not measured"
    )
    action.add_argument("--n-ctx", type=at_least(1), metavar="N", help="default: the bundle's")
    action.add_argument("--threads", type=at_least(1), metavar="N", help="default: physical cores")
    action.add_argument("--max-tiles", type=at_least(1), metavar="N", help="as for score")
    action.add_argument("--max-image-tokens", type=at_least(1), metavar="N", help="as for score")
    _json(action)


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1920x1080")
    return int(match[1]), int(match[2])


def models(args: argparse.Namespace, console: Console) -> int:
    """Carry out the action."""
    actions: dict[str, Callable[[argparse.Namespace, Console], int]] = {
        "list": _list,
        "pull": _pull,
        "verify": _verify,
        "inspect": bundles.inspect,
        "estimate": _estimate,
        "rm": _remove,
    }
    return actions[args.action](args, console)


def _pull(args: argparse.Namespace, console: Console) -> int:
    from edgecritic.backends import prepare
    from edgecritic.hub import HubName, pull_bundle
    from edgecritic.models import pull

    name = args.bundle
    hub_name = None if name == EMBEDDED or Path(name).exists() else HubName.of(name)
    with console.busy(f"looking for the files of {clean(name)}") as tell:
        if hub_name is not None:
            bundle = pull_bundle(hub_name, progress=tell, force=args.force)
            paths = [_place(bundle, file) for file in bundle.manifest.files]
        else:
            paths = pull(None if name == EMBEDDED else read_bundle(name), progress=tell)
            bundle = read_bundle(name)
        prepare(bundle, "auto", tell=tell)
    for path in paths:
        console.line(clean(str(path)))
    if not paths:
        console.talk(f"{clean(name)} keeps all its files in its own folder")
    return 0


def _list(args: argparse.Namespace, console: Console) -> int:
    if args.bundle is None:
        return _list_cache(args.json, console)
    bundle = read_bundle(args.bundle)
    for file in bundle.manifest.files:
        path = _place(bundle, file)
        present = _is_there(path)
        if args.json:
            console.json(_row(file, path) | {"present": present})
        else:
            state = "present" if present else "missing"
            console.line(_columns(state, file, path))
    return 0


def _list_cache(as_json: bool, console: Console) -> int:
    from edgecritic.cache_folder import cache_home
    from edgecritic.kept import kept

    total = 0
    for entry in kept():
        total += entry.size
        if as_json:
            console.json(
                {
                    "name": entry.name,
                    "kind": entry.kind,
                    "path": str(entry.path),
                    "size": entry.size,
                    "complete": entry.complete,
                    "of": entry.of,
                }
            )
        else:
            size = f"{entry.size / 1e6:.1f} MB"
            console.line(f"{entry.kind:<7} {size:>10}  {clean(entry.name)}{_state(entry)}")
    if not as_json:
        console.talk(f"{total / 1e6:.1f} MB in {cache_home()}")
    return 0


def _state(entry: Kept) -> str:
    if entry.kind == "form":
        return f"  ({entry.of} for ONNX Runtime)" if entry.complete else "  (incomplete)"
    return "" if entry.complete else "  (incomplete: pull it again)"


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that must not be read
        return False


def _verify(args: argparse.Namespace, console: Console) -> int:
    bundle = read_bundle(args.bundle)
    failed = 0
    for file in bundle.manifest.files:
        fault = None
        with console.busy(f"reading {file.path}"):
            try:
                path = bundle.verified(file)
            except ArtifactError as error:
                fault, path = error, _place(bundle, file)
        failed += fault is not None
        if args.json:
            why = None if fault is None else {"message": fault.message, "hint": fault.hint}
            console.json(_row(file, path) | {"whole": fault is None, "error": why})
        elif fault is None:
            console.line(_columns("ok", file, path))
        else:
            console.line(_columns("failed", file, path))
            console.talk(f"{fault.message}\nhint: {fault.hint}")
    return 1 if failed else 0


def _remove(args: argparse.Namespace, console: Console) -> int:
    from edgecritic.kept import remove

    for path in remove(args.bundle):
        console.line(clean(str(path)))
    return 0


def _estimate(args: argparse.Namespace, console: Console) -> int:
    from edgecritic.backends.options import EngineOptions
    from edgecritic.fit.estimate import estimate
    from edgecritic.fit.machine import Machine
    from edgecritic.fit.workload import Workload

    bundle = read_bundle(args.bundle)
    workload = Workload(
        image_size=args.image_size,
        responses=args.responses,
        response_tokens=args.response_tokens,
        max_tiles=args.max_tiles,
        max_image_tokens=args.max_image_tokens,
    )
    options = EngineOptions(n_ctx=args.n_ctx or bundle.manifest.n_ctx, n_threads=args.threads)
    with console.busy("reading the headers of the files") as tell:
        found = estimate(
            bundle, workload, backend=args.backend, options=options, on_gpu=args.gpu, tell=tell
        )
        machine = Machine.here()
    if args.json:
        free = {"ram_free_bytes": machine.ram, "vram_free_bytes": machine.vram}
        console.json(found.to_dict() | free)
        return 0
    style = console.style
    console.line(cards.heading(f"{clean(found.critic)} on {found.engine}", style))
    for line in _told(found, machine, style):
        console.line(line)
    return 0


def _told(found: Estimate, machine: Machine, style: Style) -> list[str]:
    lines = [cards.field("disk", f"{found.disk / 1e6:,.0f} MB", style)]
    lines += [cards.field("memory", _memory(found.ram_peak, machine.ram), style)]
    lines += _parts(found.ram, style)
    if found.ram_later > found.ram_peak:
        kept = "for further questions about pictures that were seen"
        lines.append(cards.field("later", f"at most {_mib(found.ram_later)}: kept {kept}", style))
    if found.vram:
        lines += [cards.field("GPU", _memory(found.vram_peak, machine.vram), style)]
        lines += _parts(found.vram, style)
    tokens = f"{found.tokens:,} to compute, {found.image_tokens:,} of them of the picture"
    lines.append(cards.field("tokens", tokens, style))
    if found.seconds is not None:
        each = found.seconds / found.judgements
        verdicts = "1 judgement" if found.judgements == 1 else f"{found.judgements} judgements"
        time = f"{found.seconds:.2f} s for {verdicts}, {each:.2f} s each"
        lines.append(cards.field("time", time, style))
    return lines


def _parts(parts: Mapping[str, int], style: Style) -> list[str]:
    """Largest first, what is nothing left out."""
    largest = sorted(parts.items(), key=lambda item: -item[1])
    shown = (f"{size / _MIB:>8,.0f} MiB  {part}" for part, size in largest if size)
    return [cards.lead("", style) + style.paint(line, "dim") for line in shown]


def _memory(needed: int, free: int | None) -> str:
    if free is None:
        return _mib(needed)
    verdict = "fits" if needed <= free else "does not fit"
    return f"{_mib(needed)} at the peak, {_mib(free)} are free: {verdict}"


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / _MIB:,.0f} MiB"


def _place(bundle: Bundle, file: BundleFile) -> Path:
    from edgecritic.cache_folder import cache_path

    return cache_path(file) if file.external else bundle.folder / file.path


def _row(file: BundleFile, path: Path) -> dict[str, object]:
    return {
        "role": file.role,
        "path": str(path),
        "size": file.size,
        "sha256": file.sha256,
        "quant": file.quant,
        "external": file.external,
    }


def _columns(state: str, file: BundleFile, path: Path) -> str:
    size = f"{file.size / 1e6:.1f} MB"
    return f"{state:<8} {file.role:<15} {file.quant:<6} {size:>10}  {clean(str(path))}"
