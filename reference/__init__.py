"""The torch model: the truth that everything else is compared with."""
