"""Engines that run a critic, each behind the Protocol of `base`."""
