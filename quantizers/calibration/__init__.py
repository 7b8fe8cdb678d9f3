"""Statistics of the model's own activations, for the methods that ask for them."""
