"""`edgecritic serve`: the critic behind HTTP, for evaluation kits, apps and people.

``app.py`` puts the routes together; ``native.py`` and ``chat.py`` answer them. A request becomes a
job (``jobs.py``), which waits in a queue (``desk.py``) for a process that holds the model
(``process.py`` here, ``worker.py`` there). ``schema/`` says what requests and responses look like,
once for checking and for publishing.
"""

from edgecritic.server.app import create_app
from edgecritic.server.catalogue import ServedModel
from edgecritic.server.options import Limits, ServerOptions

__all__ = ["Limits", "ServedModel", "ServerOptions", "create_app"]
