"""Public benchmarks: their rows, other people's verdicts on them, and their scorers.

Where the authors' scorer and the evaluation kits disagree, `protocol` says whose rules count:
``official``, ``lmms-eval`` or ``vlmevalkit``, each reproduced to the row; ``both-orders`` is ours.
"""
