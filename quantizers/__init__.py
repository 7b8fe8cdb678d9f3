"""Weights to blocks: formats, methods, recipes."""
