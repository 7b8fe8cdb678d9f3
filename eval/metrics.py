"""Every metric of the harness: what it is called, what it means, and how much worse is too much.

A metric is a statistic (flowvox.eval.statistics) over the rows that a level collects under `rows`. A
*direct* metric compares a bundle with the baseline by itself, and `perfect` is its value where nothing
was lost; the others are measured on each artifact alone, and the difference is what counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from flowvox.eval.statistics import Better

Level = Literal["teacher-forced", "codec", "free-running", "speed", "size"]

PESQ_OF_EQUALS = 4.643888  # P.862.2's mapping of the raw score 4.5


@dataclass(frozen=True)
class Metric:
    """margin: how much worse than the baseline a bundle may be, in `unit`; None gives no verdict.

    The margins here are for a first look; budgets of the gate replace them.
    """

    id: str
    level: Level
    title: str
    unit: str
    better: Better
    rows: str
    statistic: str
    explanation: str
    margin: float | None = None
    perfect: float | None = None

    @property
    def direct(self) -> bool:
        """The rows are comparisons with the baseline already."""
        return self.perfect is not None


def _forced(
    name: str, title: str, unit: str, better: Better, rows: str, statistic: str, explanation: str,
    margin: float | None = None, perfect: float = 0.0,
) -> Metric:  # fmt: skip
    return Metric(
        name, "teacher-forced", title, unit, better, rows, statistic, explanation, margin, perfect
    )


def _codec(
    name: str, title: str, unit: str, better: Better, statistic: str, explanation: str,
    margin: float | None = None, perfect: float = 0.0,
) -> Metric:  # fmt: skip
    return Metric(name, "codec", title, unit, better, name, statistic, explanation, margin, perfect)


def _free(
    name: str, title: str, unit: str, better: Better, statistic: str, explanation: str,
    margin: float | None = None, perfect: float | None = None,
) -> Metric:  # fmt: skip
    return Metric(
        name, "free-running", title, unit, better, name, statistic, explanation, margin, perfect
    )


METRICS: tuple[Metric, ...] = (
    _forced("kld_mean", "Mean KLD", "nats", "lower", "kld", "mean",
            "KL divergence of the semantic distribution from the baseline's, mean over frames", 0.05),
    _forced("kld_median", "Median KLD", "nats", "lower", "kld", "median", "its median"),
    _forced("kld_p99", "99.0% KLD", "nats", "lower", "kld", "p99", "one frame in a hundred is above"),
    _forced("kld_max", "Maximum KLD", "nats", "lower", "kld", "max", "its worst frame"),
    _forced("same_top_p", "Same top p", "fraction", "higher", "same_top_p", "mean",
            "frames with the same most likely semantic code", 0.10, 1.0),
    _forced("rms_delta_p", "RMS Δp", "fraction", "lower", "delta_p", "rms",
            "RMS change of the probability of the baseline's pick", 0.10),
    _forced("mean_delta_p", "Mean Δp", "fraction", "none", "delta_p", "mean",
            "mean change of that probability: below zero is less sure"),
    _forced("baseline_rank", "Rank of the baseline's pick", "place", "lower", "baseline_rank", "mean",
            "mean place of the baseline's pick among ours", 0.5, 1.0),
    _forced("end_margin_shift", "END margin shift", "nats", "none", "end_margin", "mean",
            "mean change of how far END is ahead of the best other code: above zero ends earlier"),
    _forced("missed_end", "Missed END", "fraction", "lower", "missed_end", "mean",
            "utterances that would run on where the baseline ends", 0.10),
    _forced("false_end", "False END", "fraction", "lower", "false_end", "mean",
            "frames that would end where the baseline goes on", 0.01),
    _forced("hidden_error", "Hidden state error", "fraction", "lower", "hidden_error", "root ratio",
            "relative RMS error of the backbone's output"),
    _forced("velocity_error", "Velocity error", "fraction", "lower", "velocity_error", "root ratio",
            "relative RMS error of the flow head's velocity along the baseline's path", 0.30),
    _forced("latent_snr", "Latent SNR", "dB", "higher", "latent_snr", "decibels",
            "energy of the baseline's acoustic latents over that of our error", None, 120.0),
    _forced("fsq_exact", "Same FSQ level", "fraction", "higher", "fsq_exact", "mean",
            "acoustic codes that round to the baseline's level", 0.35, 1.0),
    _forced("fsq_within_one", "FSQ level within one", "fraction", "higher", "fsq_within_one", "mean",
            "acoustic codes at most one level away", 0.10, 1.0),
    _forced("fsq_exact_flow_only", "Same FSQ level, flow alone", "fraction", "higher",
            "fsq_exact_flow_only", "mean",
            "as Same FSQ level, from the baseline's hidden states: what the flow head alone loses",
            None, 1.0),
    _codec("codec_snr", "Waveform SNR", "dB", "higher", "mean",
           "the same codes decoded: baseline's waveform over our error", None, 120.0),
    _codec("codec_si_sdr", "SI-SDR", "dB", "higher", "mean",
           "the same without regard to loudness", None, 120.0),
    _codec("codec_log_mel", "Log-mel distance", "dB", "lower", "mean",
           "RMS difference of log-mel spectra", 1.0),
    _codec("codec_stft", "Multi-resolution STFT distance", "", "lower", "mean",
           "spectral convergence + log magnitude over three window sizes", 0.2),
    _codec("codec_pesq", "PESQ", "MOS-LQO", "higher", "mean",
           "wide-band PESQ of our decoding against the baseline's", 0.3, PESQ_OF_EQUALS),
    _codec("codec_stoi", "STOI", "fraction", "higher", "mean",
           "short-time objective intelligibility against the baseline's decoding", 0.02, 1.0),
    _codec("codec_silence", "Noise floor in silences", "dB", "lower", "mean",
           "how much louder than the baseline's our silences are", 3.0),
    _codec("codec_clipped", "Clipped samples", "fraction", "lower", "mean",
           "samples at full scale beyond the baseline's", 0.001),
    _codec("codec_nonfinite", "NaN or Inf samples", "fraction", "lower", "mean",
           "samples that are not numbers", 0.0),
    _free("wer", "WER", "fraction", "lower", "ratio", "word error rate by the recognizer", 0.05),
    _free("cer", "CER", "fraction", "lower", "ratio", "character error rate", 0.05),
    _free("similarity", "Speaker similarity", "cosine", "higher", "mean",
          "to the voice: the baseline's mean embedding over its other sentences", 0.05),
    _free("mos", "DistillMOS", "MOS", "higher", "mean", "predicted naturalness, 1 to 5", 0.2),
    _free("dnsmos", "DNSMOS overall", "MOS", "higher", "mean", "predicted quality, for noise", 0.2),
    _free("duration_ratio", "Duration ratio", "ratio", "none", "median",
          "length against the baseline's utterance (same seed)", None, 1.0),
    _free("length_spread", "Length spread over seeds", "fraction", "none", "mean",
          "standard deviation of an utterance's length over seeds, over its mean"),
    _free("not_ended", "Did not end", "fraction", "lower", "mean",
          "utterances that ran into the limit", 0.05),
    _free("early_stop", "Early stops", "fraction", "lower", "mean",
          "utterances shorter than 60 % of the baseline's", 0.10, 0.0),
    _free("long_silence", "Long inner silences", "fraction", "lower", "mean",
          "utterances with an inner silence of more than a second", 0.10),
    _free("clipped", "Clipped utterances", "fraction", "lower", "mean",
          "utterances with clipped samples", 0.05),
    _free("silent", "Silent utterances", "fraction", "lower", "mean",
          "utterances without any speech", 0.0),
    Metric("rtf_ratio", "speed", "RTF against the baseline", "ratio", "lower", "rtf", "ratio",
           "compute time per audio second, over the baseline's in the same run", 0.25),
    Metric("bytes", "size", "Size", "bytes", "lower", "bytes", "mean", "all files of the bundle"),
)  # fmt: skip

BY_ID = {metric.id: metric for metric in METRICS}
