"""The fixtures of small runs."""

from run_fixtures import kept, small, undrawn, unrendered

__all__ = ["kept", "small", "undrawn", "unrendered"]
