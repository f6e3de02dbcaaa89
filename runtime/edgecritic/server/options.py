"""What an operator may choose, and the limits that hold for everybody."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from edgecritic.errors import InputError

DEFAULT_PORT = 8642


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may ask for.

    Attributes:
        body_bytes: of a request.
        bodies_bytes: of all requests that are being received.
        images: of one judgement or chat; their own limits are `edgecritic.vision.ImageLimits`.
        image_bytes: of one encoded picture.
        tokens: generated for one answer.
        head_s: seconds in which the head of a request must have arrived.
        body_s: seconds in which a body must have arrived.
        judging_s: seconds in which a judgement must be made; waiting and loading do not count.
        loading_s: seconds in which a model must be loaded.
        cancelling_s: seconds that a process may take to heed a cancelled request before it is
            ended.
    """

    body_bytes: int = 32 * 2**20
    bodies_bytes: int = 256 * 2**20
    images: int = 8
    image_bytes: int = 20 * 2**20
    tokens: int = 4096
    head_s: float = 30.0
    body_s: float = 60.0
    judging_s: float = 300.0
    loading_s: float = 900.0
    cancelling_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How a server behaves.

    Attributes:
        host: address that it listens on.
        token: that every request must carry; empty for none, which only loopback allows.
        queue: requests that may wait for a model.
        parallel: requests that a model is given at once; what they share is decoded once.
        idle_unload_s: seconds without requests after which a model is unloaded; 0 for never.
        drain_s: seconds that running requests get to finish when the server is stopped.
        allowed_hosts: names, beside this machine's addresses, that a request may call it by.
        allowed_origins: of web pages elsewhere that may call it, such as ``https://app.example``.
        image_hosts: from which pictures may be fetched; none when empty.
        kits: answer the prompts of known evaluation kits by verdicts read from logits.
        limits: see `Limits`.

    Raises:
        InputError: others than this machine could call it, and there is no token.
    """

    host: str = "127.0.0.1"
    token: str = field(default="", repr=False)
    queue: int = 64
    parallel: int = 8
    idle_unload_s: float = 0.0
    drain_s: float = 10.0
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    image_hosts: tuple[str, ...] = ()
    kits: bool = True
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.token and not is_loopback(self.host):
            raise InputError(
                f"others could reach {self.host}, and there is no token",
                "give one by --token-file, or listen on 127.0.0.1",
            )
        if self.queue < 0 or self.parallel < 1:
            raise InputError(
                f"queue is {self.queue}, parallel is {self.parallel}", "give 0 and 1 or more"
            )


def is_loopback(host: str) -> bool:
    """Only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
