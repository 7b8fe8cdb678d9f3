"""Will it run there, and how fast? Sizes, a table of devices, and a model of the time per frame."""
