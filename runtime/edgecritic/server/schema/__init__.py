"""What requests and responses look like: JSON Schema, written once, checked and published."""

from edgecritic.server.schema.check import check
from edgecritic.server.schema.openapi import openapi

__all__ = ["check", "openapi"]
