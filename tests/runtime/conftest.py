"""The fixtures of small runs."""

from run_fixtures import kept, small, unrendered

__all__ = ["kept", "small", "unrendered"]
