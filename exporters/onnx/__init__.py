"""ONNX graphs and the bundle around them."""
