"""A verb whose packages are not installed says which extra brings them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flowvox.errors import MissingPackageError


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn an ImportError of a third-party package into a MissingPackageError."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("flowvox"):
            raise
        raise MissingPackageError(
            f'this needs {error.name}, which is not installed; pip install "flowvox[{extra}]"'
        ) from None
