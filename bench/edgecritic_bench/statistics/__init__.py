"""Agreement, bias, calibration and paired comparisons, each with an interval over items.

Every statistic is computed on columns of numpy arrays. `clusters` numbers the item that a row comes
from, 0 to n_items - 1; rows of one item share a picture, so items are what is resampled.
"""
