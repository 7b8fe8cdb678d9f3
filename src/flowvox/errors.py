"""Errors that a user can mend.

The CLI prints the message of a `FlowvoxError` as one line and exits with status 2; everything else
is a bug and shows a traceback. A message says what is wrong and how to mend it.
"""

from __future__ import annotations


class FlowvoxError(Exception):
    """The caller's mistake or bad input; the message is one line for the user."""


class ConfigError(FlowvoxError):
    """params.json is missing, malformed, of another model, or contradicts itself."""


class CheckpointError(FlowvoxError):
    """A checkpoint's tensors are missing, extra, misshapen, cut short or not finite."""


class AdapterError(FlowvoxError):
    """An adapter is malformed, of another model, or of a kind that cannot be merged."""


class TokenizerError(FlowvoxError):
    """tekken.json is malformed."""


class VoiceError(FlowvoxError):
    """A voice does not exist, or its file is not what it should be."""


class PromptError(FlowvoxError):
    """The text cannot be spoken: empty, or longer than the model's context."""


class BundleError(FlowvoxError):
    """A bundle is incomplete, tampered with, or of another version."""


class RecipeError(FlowvoxError):
    """A recipe is malformed or asks for what the format cannot hold."""


class OutputError(FlowvoxError):
    """The output exists already, or cannot be written."""


class MissingPackageError(FlowvoxError):
    """A verb needs an extra that is not installed."""
