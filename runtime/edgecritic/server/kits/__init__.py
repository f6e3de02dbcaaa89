"""Judge prompts of known evaluation kits, recognised and answered from the critic's logits.

A kit asks in its own words and parses the answer by its own rules. Where its prompt is recognised,
question and responses are taken out of it, judged in the critic's own dialect, and the verdict is
written as the kit expects it. Recognition is by the kit's fixed phrases, each of which must occur
exactly once: a response that imitates them makes the prompt an ordinary chat.
"""

from edgecritic.server.kits.recognition import Asked, Recognised, Written, recognise
from edgecritic.server.kits.schemas import schema_in

__all__ = ["Asked", "Recognised", "Written", "recognise", "schema_in"]
