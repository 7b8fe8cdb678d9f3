"""Speak with CrispASR's ggml engine: model, text and output file; codes go to stderr. A process of its
own, because an engine that meets what it cannot hold aborts."""

import sys

import numpy as np
from crispasr import Session

model, text, out = sys.argv[1:]
session = Session(model, n_threads=1, backend="voxtral-tts", use_gpu=False, verbosity=1)
np.save(out, session.synthesize(text))
