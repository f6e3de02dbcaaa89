"""The command line. stdout is data, stderr is talk.

Exit status: 0 done, 1 failed, 2 used wrongly, 130 interrupted. Other packages add commands by
entry points of the group ``edgecritic.commands``: callables that take the arguments behind their
name and return an exit status.
"""

from edgecritic.cli.dispatch import main

__all__ = ["main"]
