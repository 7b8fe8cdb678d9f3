"""Low-rank adapters in PEFT's format, merged into a checkpoint while it is read."""
