"""Damages on disk, by content: what was measured once is not measured again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from flowvox.quantizers.allocation.damage import Damage
from flowvox.quantizers.calibration.cache import default_folder as calibration_folder
from flowvox.recipe import Rule

VERSION = 1  # of what a damage means: raise it when something else is measured


def default_folder() -> Path:
    """$FLOWVOX_CACHE/allocation, else in the user's cache folder."""
    return calibration_folder().with_name("allocation")


class Ledger:
    """A file of lines, a damage each. A line that was cut short counts as missing.

    subject: what was measured on (hashes of weights and of sequences); the file is named after it.
    """

    def __init__(self, folder: Path, subject: Sequence[object]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(json.dumps([VERSION, *subject]).encode()).hexdigest()
        self.path = folder / f"{digest[:32]}.jsonl"
        self._found: dict[str, Damage] = {}
        for line in self.path.read_text("utf-8").splitlines() if self.path.is_file() else []:
            try:
                entry = json.loads(line)
                self._found[entry["key"]] = Damage.from_dict(entry["damage"])
            except (json.JSONDecodeError, KeyError, TypeError):
                continue

    def knows(self, rules: Sequence[Rule]) -> bool:
        """Whether `damage` of these rules would have nothing to measure."""
        return _key(rules) in self._found

    def damage(self, rules: Sequence[Rule], measure: Callable[[], Damage]) -> Damage:
        """Of these rules together; all other tensors are as they were."""
        key = _key(rules)
        if key not in self._found:
            damage = self._found[key] = measure()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "damage": damage.to_dict()}) + "\n")
        return self._found[key]


def _key(rules: Sequence[Rule]) -> str:
    said = json.dumps(sorted(json.dumps(rule.to_dict(), sort_keys=True) for rule in rules))
    return hashlib.sha256(said.encode()).hexdigest()
