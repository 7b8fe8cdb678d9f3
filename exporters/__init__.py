"""Writers of artifacts: ONNX bundles and GGUF files."""
