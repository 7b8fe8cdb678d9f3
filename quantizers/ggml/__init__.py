"""ggml's block formats: what a GGUF file stores. Importing this package registers all of them."""

import flowvox.quantizers.ggml.floats
import flowvox.quantizers.ggml.k_quants
import flowvox.quantizers.ggml.q6_k
import flowvox.quantizers.ggml.rounded  # noqa: F401
