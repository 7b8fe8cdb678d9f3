"""The `flowvox` command: one file per verb, errors in one line, rooms imported lazily."""

from __future__ import annotations

from flowvox.cli.app import main

__all__ = ["main"]
