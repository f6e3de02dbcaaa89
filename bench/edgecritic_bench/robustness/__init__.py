"""Responses that try to win by other means than being right, and how often they do.

`families` holds the manipulations, `attacks` puts them on the worse response of known pairs,
`outcome` tells how many pairs they turned and by how much they raised scores.
"""
