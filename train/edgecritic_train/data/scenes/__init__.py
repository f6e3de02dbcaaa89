"""Composition: pictures drawn from assets and primitives. One kind of picture a module."""
