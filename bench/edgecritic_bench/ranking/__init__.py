"""How many judgements a ranking needs: adaptive rankings beside rankings by all ordered pairs."""
