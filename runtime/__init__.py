"""numpy + onnxruntime: a bundle speaks."""
