"""The plan as rows to read: what each group has, what it costs, and what the next choices would."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from flowvox.quantizers.allocation.allocate import Plan
from flowvox.quantizers.allocation.candidates import label


@dataclass(frozen=True)
class Row:
    """share: of the plan's loss; less, more: the best choice with fewer and with more bytes."""

    group: str
    format: str
    bytes: int
    ms: float
    share: float
    less: str
    more: str


def rows(plan: Plan) -> list[Row]:
    """One per group."""
    found = []
    for g, (group, i) in enumerate(zip(plan.problem.groups, plan.choice, strict=True)):
        found.append(
            Row(
                group=group.name,
                format=label(plan.problem.rules[g][i]),
                bytes=plan.problem.sizes[g][i],
                ms=1e3 * plan.problem.seconds[g][i],
                share=plan.losses[g][i] / plan.cost.loss if plan.cost.loss else 0.0,
                less=_step(plan, g, i, smaller=True),
                more=_step(plan, g, i, smaller=False),
            )
        )
    return found


def to_dict(plan: Plan) -> dict[str, Any]:
    """The plan as JSON."""
    yardstick = plan.yardstick
    return {
        "bytes": plan.size,
        "rtf": plan.rtf,
        "loss": plan.cost.loss,
        "gap": plan.gap,
        "predicted": plan.predicted.to_dict(),
        "measured": None if plan.measured is None else plan.measured.to_dict(),
        "yardstick": {"kld": yardstick.kld, "latent": yardstick.latent},
        "rounds": [{"predicted": a, "measured": b} for a, b in plan.rounds],
        "groups": [asdict(row) for row in rows(plan)],
    }


def describe(plan: Plan) -> str:
    """For the recipe: what was asked, and what came of it."""
    request = plan.problem.request
    asked = []
    if request.max_size is not None:
        asked.append(f"at most {request.max_size / 1e6:.2f} MB")
    if request.target_rtf is not None and request.device is not None:
        asked.append(f"RTF {request.target_rtf:g} on {request.device.name}")
    found = plan.predicted if plan.measured is None else plan.measured
    how = "estimated" if plan.measured is None else "measured"
    return (
        f"Allocated for {plan.problem.source.path.name}, {' and '.join(asked)}; {how} KLD "
        f"{found.kld:.5f}, {1 - found.fsq:.1%} of FSQ levels the same."
    )


def summary(plan: Plan) -> list[str]:
    """What is to be said below the table."""
    request = plan.problem.request
    size = f"{plan.size / 1e6:.2f} MB"
    if request.max_size is not None:
        size += f" of {request.max_size / 1e6:.2f}"
    lines = [size]
    if plan.rtf is not None:
        target = "" if request.target_rtf is None else f" of {request.target_rtf:g}"
        assert request.device is not None
        lines[0] += f"; RTF {plan.rtf:.3f}{target} on {request.device.title}, predicted"
    proof = (
        "proven to be the least" if plan.gap < 1e-4 else f"at most {plan.gap:.2%} above the least"
    )
    lines.append(
        f"loss {plan.cost.loss:.3f} as a sum of parts ({proof}); 1 is all layers and heads in int4/32"
    )
    if plan.measured is not None:
        both = plan.yardstick.loss(plan.measured), plan.measured
        lines.append(
            f"measured together: loss {both[0]:.3f}, KLD {both[1].kld:.5f} nats, "
            f"{1 - both[1].fsq:.1%} of FSQ levels the same, "
            f"END margin moves {both[1].end_margin:.2f} nats"
        )
    return lines


def _step(plan: Plan, g: int, i: int, *, smaller: bool) -> str:
    """The candidate of least loss among those with fewer bytes, or that with most gain per byte."""
    sizes, losses, total = plan.problem.sizes[g], plan.losses[g], plan.cost.loss or 1.0
    others = [
        j for j in range(len(sizes)) if (sizes[j] < sizes[i]) == smaller and sizes[j] != sizes[i]
    ]
    if smaller:
        best = min(others, key=lambda j: losses[j], default=None)
    else:
        better = [j for j in others if losses[j] < losses[i]]
        best = max(
            better, key=lambda j: (losses[i] - losses[j]) / (sizes[j] - sizes[i]), default=None
        )
    if best is None:
        return "-"
    change = (losses[best] - losses[i]) / total
    return (
        f"{label(plan.problem.rules[g][best])}: {change:+.1%} loss, {sizes[best] - sizes[i]:+,} B"
    )
