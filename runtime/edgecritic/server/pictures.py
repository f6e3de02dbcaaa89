"""All pictures of a request, decoded from their URLs or fetched, under the limits."""

from __future__ import annotations

from collections.abc import Sequence

from edgecritic.server import images
from edgecritic.server.fetching import Fetcher
from edgecritic.server.options import Limits


class Pictures:
    """Reads the pictures that requests name.

    Args:
        limits: on their number and size.
        fetcher: gets those that lie elsewhere.
    """

    def __init__(self, limits: Limits, fetcher: Fetcher) -> None:
        self._limits = limits
        self._fetcher = fetcher

    async def read(self, pictures: Sequence[str]) -> tuple[bytes, ...]:
        """The encoded pictures.

        Raises:
            Failure: there are too many, or one cannot be used.
        """
        images.check_number(pictures, self._limits)
        return tuple(
            [
                await self._one(picture.strip(), f"picture {number}")
                for number, picture in enumerate(pictures, start=1)
            ]
        )

    async def _one(self, picture: str, where: str) -> bytes:
        if images.is_remote(picture):
            return await self._fetcher.fetch(picture, where)
        return images.decoded(picture, where, self._limits)
