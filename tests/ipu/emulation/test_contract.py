"""Every name of poptorch and popart that the installed optimum-graphcore uses for CTC is emulated, or refused by name.

The names are found in its source, so a release that uses more of them shows here.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set

import pytest

CTC_PATH = [
    "__init__.py",
    "data/**/*.py",
    "ipu_configuration.py",
    "modeling_utils.py",
    "models/hubert/*.py",
    "models/wav2vec2/*.py",
    "trainer.py",
    "trainer_pt_utils.py",
    "trainer_utils.py",
    "training_args.py",
]
# What these variables and attributes hold there, besides arguments that are annotated with their class.
RECEIVERS = {
    "Options": {"opts"},
    "PoplarExecutor": {"training_model", "inference_model", "wrapped"},
    "Optimizer": {"optimizer", "poptorch_optimizer"},
    "DataLoader": {"train_dataloader", "train_dl", "eval_dl", "dataloader", "epoch_iterator"},
}
# The caller's own, whatever it is: names beyond these are not poptorch's.
OWN = ("dataset", "sampler")
# Used only by what CTC models have none of: serialized embeddings and projections, outlining, explicit IR.
REFUSED = {
    "poptorch.Attribute",
    "poptorch.serializedMatMul",
    "Options()._popart",
    "Options()._popart.set",
}


class Use(NamedTuple):
    """One use: `poptorch.BeginBlock` or `Options().Training.gradientAccumulation`, with keywords if it is called."""

    name: str
    keywords: frozenset
    where: str


def chain(node: ast.AST) -> Optional[List[str]]:
    """a.b().c -> ["a", "b()", "c"], without arguments; None for what is no such chain."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Call):
        called = chain(node.func)
        return None if called is None else [*called[:-1], called[-1] + "()"]
    if isinstance(node, ast.Attribute):
        before = chain(node.value)
        return None if before is None else [*before, node.attr]
    return None


class Uses(ast.NodeVisitor):
    """Collects the uses of one file."""

    def __init__(self, where: str) -> None:
        self.where, self.found, self._called = where, set(), {}  # type: ignore[var-annotated]
        self.aliases: Dict[str, str] = {"poptorch": "poptorch", "popart": "popart"}
        self.receivers = {name: kind for kind, names in RECEIVERS.items() for name in names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module and node.module.split(".")[0] in ("poptorch", "popart") and not node.level:
            for alias in node.names:
                self.aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                self._note(f"{node.module}.{alias.name}", node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outside = dict(self.receivers)
        for argument in node.args.args:
            names = chain(argument.annotation) if argument.annotation else None
            if names and names[-1] in RECEIVERS:
                self.receivers[argument.arg] = names[-1]
        self.generic_visit(node)
        self.receivers = outside

    def visit_Call(self, node: ast.Call) -> None:
        self._called[id(node.func)] = frozenset(k.arg for k in node.keywords if k.arg)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if self.aliases.get(node.id, "").count("."):
            self._note(self.aliases[node.id], node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        names = chain(node)
        if names and isinstance(node.ctx, ast.Load):
            if names[0] == "self":
                names = names[1:]
            if names[0] in self.aliases:
                self._note(".".join([self.aliases[names[0]], *names[1:]]), node)
            if names[0] in self.receivers and len(names) > 1:
                self._note(".".join([f"{self.receivers[names[0]]}()", *names[1:]]), node)
        self.generic_visit(node)

    def _note(self, name: str, node: ast.AST) -> None:
        if any(f".{own}." in name for own in OWN):
            return
        where = f"{self.where}:{getattr(node, 'lineno', 0)}"
        self.found.add(Use(name, self._called.get(id(node), frozenset()), where))


def sources(optimum: ModuleType) -> Iterator[Path]:
    folder = Path(optimum.__file__).parent
    for pattern in CTC_PATH:
        paths = sorted(folder.glob(pattern))
        assert paths, pattern
        yield from paths


@pytest.fixture(scope="module")
def uses(optimum: ModuleType) -> Set[Use]:
    found: Set[Use] = set()
    for path in sources(optimum):
        visitor = Uses(path.name)
        visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
        found |= visitor.found
    return found


@pytest.fixture
def things(poptorch: ModuleType) -> Dict[str, Any]:
    """Where a use's name begins -> the emulated thing."""
    import popart
    import torch

    model = torch.nn.Linear(1, 1)
    model.config = None  # the wrapped model's own, which the executor passes through
    return {
        "poptorch": poptorch,
        "popart": popart,
        "Options()": poptorch.Options(),
        "PoplarExecutor()": poptorch.inferenceModel(model),
        "Optimizer()": poptorch.optim.AdamW(model.parameters()),
        "DataLoader()": poptorch.DataLoader(poptorch.Options(), [1]),
    }


def resolve(name: str, things: Dict[str, Any]) -> Any:
    """The emulated thing of that name. Calls in it make an object of a class; methods are taken to return their own."""
    start = next(start for start in things if name.split(".")[0] == start)
    thing = things[start]
    for part in name.split(".")[1:]:
        attribute = part.replace("()", "")
        if inspect.ismodule(thing) and not hasattr(thing, attribute):
            importlib.import_module(f"{thing.__name__}.{attribute}")
        thing = getattr(thing, attribute)
        if part.endswith("()"):
            thing = thing() if inspect.isclass(thing) else thing.__self__
    return thing


def test_names_are_found(uses) -> None:
    names = {use.name for use in uses}
    assert len(names) > 50, sorted(names)
    assert {
        "poptorch.BeginBlock",
        "poptorch.identity_loss",
        "poptorch.optim.LAMB",
        "poptorch.TensorLocationSettings().useOnChipStorage().useReplicatedTensorSharding",
        "popart.SubgraphCopyingStrategy.JustInTime",
        "Options().Training.accumulationAndReplicationReductionType",
        "Options()._Popart.setPatterns",
        "PoplarExecutor().copyWeightsToHost",
        "PoplarExecutor().compile",
        "Optimizer().variable_attrs.markAsConstant",
    } <= names


def test_every_name_is_emulated_or_refused(uses, things, poptorch) -> None:
    refused, broken = set(), []
    for use in sorted(uses):
        try:
            resolve(use.name, things)
        except poptorch.NotEmulated as error:
            assert str(error).startswith("not emulated: ")
            refused.add(use.name)
        except Exception as error:
            broken.append(f"{use.name} ({use.where}): {error!r}")
    assert broken == []
    assert refused == REFUSED


def test_every_keyword_is_taken(uses, things) -> None:
    unknown = []
    for use in sorted(uses):
        if not use.keywords or use.name in REFUSED:
            continue
        parameters = inspect.signature(resolve(use.name, things)).parameters
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            continue
        unknown += [f"{use.name}({word}=) in {use.where}" for word in use.keywords - set(parameters)]
    assert unknown == []
