"""Recipes: which tensor is stored how. Versioned, pure data, first matching rule wins.

    version: 1
    name: int4
    description: ...
    compute: float16        # optional, see Recipe
    kv_cache: int8          # optional, see Recipe
    rotation: residual      # optional, see Recipe
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
from flowvox.tensors import CODE_EMBEDDINGS, TOKEN_EMBEDDINGS

VERSION = 1
PLAIN_FORMATS = ("float32", "float16", "omit")
BUNDLE_FORMATS = (
    "int8",
    "int4",
    "int2",
    "w8",
    "w8a8",
    "nf4",
    "fp4",
    "int8-dynamic",
)  # only ONNX bundles have them
GGUF_FORMATS = (  # only GGUF files have them
    "bfloat16", "q8_0", "q6_k", "q5_k", "q4_k", "q5_1", "q5_0", "q4_1", "q4_0",
)  # fmt: skip
FORMATS = (*PLAIN_FORMATS[:2], *BUNDLE_FORMATS, *GGUF_FORMATS, "omit")
OMITTABLE = "codec_encoder"  # the one component that speaking does not need
BLOCK_METHODS = ("round", "search", "hqq", "imatrix", "gptq", "awq", "awq+gptq")
METHODS = {  # how scales and levels are found
    "int8": BLOCK_METHODS,
    "int4": BLOCK_METHODS,
    "int2": BLOCK_METHODS,
    "w8a8": ("round", "search", "gptq", "smooth", "smooth+gptq"),
    **dict.fromkeys(("q4_k", "q5_k", "q6_k"), ("search", "imatrix")),
}
# Methods that fold scales into neighbouring tensors first: how they find them, and what comes then.
FOLDING = {
    "awq": ("awq", "imatrix"),
    "awq+gptq": ("awq", "gptq"),
    "smooth": ("smooth", "search"),
    "smooth+gptq": ("smooth", "gptq"),
}
CALIBRATED = ("imatrix", "gptq", *FOLDING)  # what wants to know the model's activations
COMPUTE = ("float32", "float16")
KV_CACHES = ("float32", "float16", "int8")
ROTATIONS = ("none", "residual", "heads", "residual+heads")
BLOCKS = {  # those that onnxruntime and, for nf4 and fp4, bitsandbytes know
    "int8": (16, 32, 64, 128, 256),
    "int4": (16, 32, 64, 128, 256),
    "int2": (64, 128),  # others run a hundred times slower in onnxruntime 1.32
    "nf4": (64, 128, 256),
    "fp4": (64, 128, 256),
}
AFFINE = ("int8", "int4", "int2")  # their blocks may have zero points
COMPONENTS = (
    "backbone",
    "flow",
    "codec_decoder",
    "codec_encoder",
    "token_embeddings",
    "code_embeddings",
)
TABLES = {"token_embeddings": TOKEN_EMBEDDINGS, "code_embeddings": CODE_EMBEDDINGS}
TABLE_FORMATS = ("float32", "float16", "int8", "int4", *GGUF_FORMATS)


@dataclass(frozen=True)
class Rule:
    """How the matching tensors are stored.

    format: see FORMATS; block: weights that share a scale (BLOCKS); method: how scales and levels
    are found (METHODS); symmetric: whether the zero point is the middle of the range or each block's
    own (AFFINE). Tables in int8 have one scale per row. See docs/recipes.md.
    """

    component: str
    format: str
    tensor: str = "*"
    block: int = 32
    method: str = "search"
    symmetric: bool = True

    def matches(self, component: str, tensor: str) -> bool:
        return fnmatchcase(component, self.component) and fnmatchcase(tensor, self.tensor)

    def to_dict(self) -> dict[str, Any]:
        """The fields that matter for this format."""
        row: dict[str, Any] = {"component": self.component}
        if self.tensor != "*":
            row["tensor"] = self.tensor
        row["format"] = self.format
        options = {key: getattr(self, key) for key in _options(self.component, self.format)}
        if self.symmetric:
            options.pop("symmetric", None)
        return row | options

    @property
    def calibrated(self) -> bool:
        """Whether the matrices under this rule want statistics of their inputs."""
        return self.method in CALIBRATED and "method" in _options(self.component, self.format)

    @property
    def folding(self) -> str | None:
        """How the scales are found that go to neighbouring tensors, None where none do."""
        return FOLDING[self.method][0] if self.calibrated and self.method in FOLDING else None

    @property
    def rounding(self) -> str:
        """The method that makes levels, after folding."""
        return FOLDING[self.method][1] if self.method in FOLDING else self.method


@dataclass(frozen=True)
class Recipe:
    """A named list of rules.

    compute: what products and attention of backbone and flow head are computed in. "float16" is for
    CUDA, whose attention knows nothing wider and whose block products are fast only then; matrices
    stored as float32, the residual stream and the norms stay in float32. kv_cache: how the backbone
    keeps keys and values, as `compute` if not given; "int8" has a scale for each channel of a head.
    rotation: what of the model is turned before it is quantized, exactly but for rounding.
    """

    name: str
    description: str
    rules: tuple[Rule, ...]
    compute: str = "float32"
    kv_cache: str = "float32"
    rotation: str = "none"

    def rule(self, component: str, tensor: str) -> Rule:
        """The first rule that matches. Raises RecipeError if none does."""
        for rule in self.rules:
            if rule.matches(component, tensor):
                return rule
        raise RecipeError(
            f"recipe {self.name}: no rule for {tensor} of {component}; end with a rule for '*'"
        )

    def omits(self, component: str) -> bool:
        """Whether a component is left out of the bundle."""
        return any(rule.format == "omit" and rule.component == component for rule in self.rules)

    @property
    def calibrated(self) -> bool:
        """Whether any rule wants statistics of activations."""
        return any(rule.calibrated for rule in self.rules)

    def check_formats(self, allowed: tuple[str, ...], artifact: str, other: str) -> None:
        """Raise RecipeError for a rule with a format that only the other kind of artifact has."""
        for rule in self.rules:
            if rule.format not in allowed:
                raise RecipeError(
                    f"recipe {self.name} asks for {rule.format}, which {artifact} cannot hold; "
                    f"it has {', '.join(allowed)} (or write {other})"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` of it gives an equal recipe."""
        return {
            "version": VERSION,
            "name": self.name,
            "description": self.description,
            **({"compute": self.compute} if self.compute != COMPUTE[0] else {}),
            **({"kv_cache": self.kv_cache} if self.kv_cache != self.compute else {}),
            **({"rotation": self.rotation} if self.rotation != "none" else {}),
            "rules": [rule.to_dict() for rule in self.rules],
        }

    @classmethod
    def from_dict(cls, data: Any, where: str) -> Recipe:
        """Validate plain data. Raises RecipeError naming the key and what is allowed."""
        if not isinstance(data, Mapping):
            raise RecipeError(f"{where}: a recipe is a mapping with version, name and rules")
        _known(data, {"version", *cls.__dataclass_fields__}, where)
        if data.get("version") != VERSION:
            raise RecipeError(f"{where}: version is {data.get('version')!r}, this is {VERSION}")
        name, rules = data.get("name"), data.get("rules")
        if not isinstance(name, str) or not name.replace("-", "").replace("_", "").isalnum():
            raise RecipeError(f"{where}: name should be letters, digits, '-' and '_'")
        if not isinstance(rules, list) or not rules:
            raise RecipeError(f"{where}: rules should be a list of at least one rule")
        parsed = tuple(_rule(rule, f"{where}: rule {i + 1}") for i, rule in enumerate(rules))
        compute = data.get("compute", COMPUTE[0])
        _allowed("compute", compute, COMPUTE, where)
        kv_cache = data.get("kv_cache", compute)
        _allowed("kv_cache", kv_cache, KV_CACHES, where)
        if compute == "float16" != kv_cache:
            raise RecipeError(
                f"{where}: with compute float16 the kv_cache is float16, too; remove it"
            )
        rotation = data.get("rotation", "none")
        _allowed("rotation", rotation, ROTATIONS, where)
        recipe = cls(name, str(data.get("description", "")), parsed, compute, kv_cache, rotation)
        recipe._check_tables(where)
        return recipe

    def _check_tables(self, where: str) -> None:
        """A glob may give a table a format that only matrices of a graph have."""
        for table, tensor in TABLES.items():
            found = next((r for r in self.rules if r.matches(table, tensor)), None)
            if found is None:
                continue
            if found.format not in TABLE_FORMATS:
                raise RecipeError(
                    f"{where}: gives {table} the format {found.format}, a table's is one of "
                    f"{', '.join(TABLE_FORMATS)}; put a rule for {table} first"
                )
            if found.calibrated or (found.format == "int4" and not found.symmetric):
                raise RecipeError(
                    f"{where}: a table is looked up, so its blocks are symmetric and its method needs "
                    f"no calibration; put a rule for {table} first"
                )


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


def save_recipe(recipe: Recipe, path: Path) -> None:
    """As YAML, to be edited and used again with -r. Raises OutputError."""
    import yaml

    from flowvox.files import write_beside

    class Line(dict[str, Any]):
        """A rule on a line of its own."""

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        Line, lambda d, row: d.represent_mapping("tag:yaml.org,2002:map", row, flow_style=True)
    )
    data = recipe.to_dict()
    data["rules"] = [Line(rule) for rule in data["rules"]]
    text = yaml.dump(data, Dumper=Dumper, sort_keys=False, width=200, allow_unicode=True)
    write_beside(path, text.encode())


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
    if not isinstance(rule.tensor, str) or not isinstance(rule.component, str):
        raise RecipeError(f"{where}: component and tensor should be patterns")
    _allowed("format", rule.format, FORMATS, where)
    options = _options(rule.component, rule.format)
    for key in ("block", "method", "symmetric"):
        if key in data and key not in options:
            raise RecipeError(f"{where}: {key} has no meaning for {rule.format} here; remove it")
    if "block" in options:
        _allowed("block", rule.block, BLOCKS[rule.format], where)
    if "method" in options:
        _allowed("method", rule.method, METHODS[rule.format], where)
    _allowed("symmetric", rule.symmetric, (True, False), where)
    if not any(fnmatchcase(component, rule.component) for component in COMPONENTS):
        names = ", ".join(COMPONENTS)
        raise RecipeError(f"{where}: no component matches {rule.component!r}; there are {names}")
    if rule.format == "omit" and (rule.component, rule.tensor) != (OMITTABLE, "*"):
        raise RecipeError(f"{where}: only {OMITTABLE} as a whole can be omitted")
    return rule


def _options(component: str, fmt: str) -> list[str]:
    """The keys beside `format` that mean something for it."""
    if component in TABLES and fmt != "int4":
        return []
    affine = fmt in AFFINE and component not in TABLES
    return ["block"] * (fmt in BLOCKS) + ["method"] * (fmt in METHODS) + ["symmetric"] * affine


def _allowed(key: str, value: Any, allowed: tuple[Any, ...], where: str) -> None:
    if type(value) is not type(allowed[0]) or value not in allowed:
        names = ", ".join(str(a) for a in allowed)
        raise RecipeError(f"{where}: {key} is {value!r}; it should be one of {names}")


def _known(data: Mapping[Any, Any], keys: set[str], where: str) -> None:
    unknown = [str(key) for key in data if key not in keys]
    if unknown:
        allowed = ", ".join(sorted(keys))
        raise RecipeError(f"{where}: unknown key {unknown[0]!r}; there are {allowed}")
