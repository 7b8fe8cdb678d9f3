"""Scales that move between neighbouring tensors: nothing changes in exact arithmetic, rounding does."""
