"""Judging by a model elsewhere, behind any chat endpoint that speaks OpenAI's protocol.

``judge.py`` is what a `Critic` asks; below it, ``messages.py`` and ``images.py`` turn a prompt to a
chat, ``endpoint.py`` sends it in the way that the endpoint accepts, ``client.py`` over HTTP, and
``verdicts.py`` reads the verdict from the tokens that come back.
"""

from edgecritic.remote.judge import RemoteJudge
from edgecritic.remote.options import RemoteOptions

__all__ = ["RemoteJudge", "RemoteOptions"]
