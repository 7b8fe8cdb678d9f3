"""Speech whose waveform is a function of its codes: a second corpus, its code space and its codec."""
