"""GGUF files of architecture `voxtral_tts`: written, and read as a checkpoint."""
