"""Optional packages: what a metric says when one of its own is not installed."""

from __future__ import annotations

from importlib.util import find_spec

from flowvox.errors import MissingPackageError


def missing(*modules: str, install: str = "flowvox[eval]") -> str | None:
    """Why a metric cannot be measured here: "install ... (x is missing)"; None if all modules exist.

    Nothing is imported: a package that is present but broken shows when the metric runs.
    """
    absent = [name for name in modules if find_spec(name) is None]
    if not absent:
        return None
    return f"install {install} ({', '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing)"


def require(what: str, reason: str | None) -> None:
    """Raise MissingPackageError "`what`: `reason`" unless the reason is None."""
    if reason is not None:
        raise MissingPackageError(f"{what}: {reason}")
