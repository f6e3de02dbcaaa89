"""edgecritic_bench: how far a critic's judgements can be trusted, and what they cost.

The parts meet through files: `judge` writes records, everything else reads them.
"""
