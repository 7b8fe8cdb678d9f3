"""Recipes: which tensor is stored how. Versioned, pure data, first matching rule wins.

    version: 1
    name: int4
    description: ...
    rules:
      - {component: backbone, tensor: "*.feed_forward.*", format: int4, block: 32, method: search}
      - {component: "*", format: float32}

`component` is a glob over graph and table names, `tensor` one over checkpoint tensor names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any

from flowvox.errors import MissingPackageError, RecipeError

VERSION = 1
FORMATS = ("float32", "float16", "int8", "int4", "nf4")
METHODS = ("round", "search")
BLOCKS = (16, 32, 64, 128, 256)
COMPONENTS = (
    "backbone",
    "flow",
    "codec_decoder",
    "codec_encoder",
    "token_embeddings",
    "code_embeddings",
)
TABLES = ("token_embeddings", "code_embeddings")
TABLE_FORMATS = ("float32", "float16", "int8")


@dataclass(frozen=True)
class Rule:
    """How the matching tensors are stored.

    format: see FORMATS; block: weights that share a scale (int8, int4, nf4); method: how scales are
    found, "round" (to nearest, from the largest weight) or "search" (least squared error).
    """

    component: str
    format: str
    tensor: str = "*"
    block: int = 32
    method: str = "search"

    def matches(self, component: str, tensor: str) -> bool:
        return fnmatchcase(component, self.component) and fnmatchcase(tensor, self.tensor)

    def to_dict(self) -> dict[str, Any]:
        """The fields that matter for this format."""
        row: dict[str, Any] = {"component": self.component}
        if self.tensor != "*":
            row["tensor"] = self.tensor
        row["format"] = self.format
        if not self.format.startswith("float"):
            row |= {"block": self.block, "method": self.method}
        return row


@dataclass(frozen=True)
class Recipe:
    """A named list of rules."""

    name: str
    description: str
    rules: tuple[Rule, ...]

    def rule(self, component: str, tensor: str) -> Rule:
        """The first rule that matches. Raises RecipeError if none does."""
        for rule in self.rules:
            if rule.matches(component, tensor):
                return rule
        raise RecipeError(
            f"recipe {self.name}: no rule for {tensor} of {component}; end with a rule for '*'"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` of it gives an equal recipe."""
        return {
            "version": VERSION,
            "name": self.name,
            "description": self.description,
            "rules": [rule.to_dict() for rule in self.rules],
        }

    @classmethod
    def from_dict(cls, data: Any, where: str) -> Recipe:
        """Validate plain data. Raises RecipeError naming the key and what is allowed."""
        if not isinstance(data, Mapping):
            raise RecipeError(f"{where}: a recipe is a mapping with version, name and rules")
        _known(data, {"version", "name", "description", "rules"}, where)
        if data.get("version") != VERSION:
            raise RecipeError(f"{where}: version is {data.get('version')!r}, this is {VERSION}")
        name, rules = data.get("name"), data.get("rules")
        if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
            raise RecipeError(f"{where}: name should be letters, digits, '-' and '_'")
        if not isinstance(rules, list) or not rules:
            raise RecipeError(f"{where}: rules should be a list of at least one rule")
        parsed = tuple(_rule(rule, f"{where}: rule {i + 1}") for i, rule in enumerate(rules))
        return cls(name, str(data.get("description", "")), parsed)


def load_recipe(name: str) -> Recipe:
    """A shipped recipe by name, or a YAML file by path. Raises RecipeError."""
    try:
        import yaml
    except ImportError:
        raise MissingPackageError('recipes need PyYAML; pip install "flowvox[export]"') from None
    if name in shipped_recipes():
        text = (resources.files("flowvox") / "recipes" / f"{name}.yaml").read_text("utf-8")
    else:
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            shipped = ", ".join(shipped_recipes())
            raise RecipeError(f"{name}: neither a recipe file nor one of {shipped}") from None
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{name}: not valid YAML ({' '.join(str(error).split())})") from None
    return Recipe.from_dict(data, name)


def shipped_recipes() -> list[str]:
    """Names of the recipes in the package."""
    files = (resources.files("flowvox") / "recipes").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def _rule(data: Any, where: str) -> Rule:
    if not isinstance(data, Mapping):
        raise RecipeError(f"{where}: a rule is a mapping such as {{component: '*', format: int4}}")
    _known(data, set(Rule.__dataclass_fields__), where)
    if "component" not in data or "format" not in data:
        raise RecipeError(f"{where}: a rule needs component and format")
    rule = Rule(**{str(key): value for key, value in data.items()})
    for key, allowed in (("format", FORMATS), ("method", METHODS), ("block", BLOCKS)):
        value = getattr(rule, key)
        if value not in allowed or isinstance(value, bool):
            names = ", ".join(str(a) for a in allowed)
            raise RecipeError(f"{where}: {key} is {value!r}; it should be one of {names}")
    if not isinstance(rule.tensor, str) or not isinstance(rule.component, str):
        raise RecipeError(f"{where}: component and tensor should be patterns")
    if not any(fnmatchcase(component, rule.component) for component in COMPONENTS):
        names = ", ".join(COMPONENTS)
        raise RecipeError(f"{where}: no component matches {rule.component!r}; there are {names}")
    if rule.component in TABLES and rule.format not in TABLE_FORMATS:
        names = ", ".join(TABLE_FORMATS)
        raise RecipeError(f"{where}: a table's format is one of {names}, not {rule.format}")
    return rule


def _known(data: Mapping[Any, Any], keys: set[str], where: str) -> None:
    unknown = [str(key) for key in data if key not in keys]
    if unknown:
        allowed = ", ".join(sorted(keys))
        raise RecipeError(f"{where}: unknown key {unknown[0]!r}; there are {allowed}")
