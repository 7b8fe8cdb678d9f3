"""Training of the small checkpoint models/tiny."""
