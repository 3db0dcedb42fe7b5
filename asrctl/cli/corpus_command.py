"""A command that reads a corpus: it takes the options of every corpus there is, and its help lists them."""

from __future__ import annotations

import functools
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Set, Tuple, Type

import typer

from asrctl.cli import options, text_options
from asrctl.cli.corpus_options import OwnOptions
from asrctl.cli.usage import HELP_NAMES, Command
from asrctl.cli.usage import build as build_command

if TYPE_CHECKING:
    from asrctl.data.corpus import Corpus, CorpusOption

# Before the names of parameters for the options of corpora: such an option may be called like any other parameter.
_OWN = "own_"
# Parameters that stand for several options.
_GROUPS = ("own", "text")


class CorpusCommand(Command):
    """Its help ends with the corpora, their options, and an example of each."""

    corpora: Sequence["Corpus"] = ()
    problems: Sequence[str] = ()
    examples: Sequence[str] = ()

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Corpora"):
            formatter.write_dl([(f"{corpus.name} {corpus.source}", _help(corpus)) for corpus in self.corpora])
        for corpus in self.corpora:
            if corpus.options:
                with formatter.section(f"Options of {corpus.name}"):
                    formatter.write_dl([_row(option) for option in corpus.options])
        if self.problems:
            with formatter.section("Left out"):
                for problem in self.problems:
                    formatter.write_text(problem)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        self.epilog = options.examples(*self.examples)
        super().format_epilog(ctx, formatter)


def build(
    name: str,
    function: Callable[..., None],
    examples: Sequence[str],
    *,
    most: int,
    cls: Type[CorpusCommand] = CorpusCommand,
) -> CorpusCommand:
    """The Click command of a function with the parameters `own`, an OwnOptions, and `text`, a TextOptions.

    examples: whole lines, beside those of the corpora, of which each shows `most`.
    """
    from asrctl.data.corpora import offered

    found = offered()
    corpora, clashes = _distinct(found.corpora, _flags(function))
    problems = [*found.problems, *clashes]
    command = build_command(name, _taking(function, corpora, problems), "", cls)
    command.corpora, command.problems = corpora, problems
    shown = [f"asrctl {name} {corpus.name} {words}" for corpus in corpora for words in corpus.examples[:most]]
    command.examples = [line.strip() for line in shown] + list(examples)
    return command


def _help(corpus: "Corpus") -> str:
    return corpus.help if corpus.package is None else f"{corpus.help}  [package: {corpus.package}]"


def _row(option: "CorpusOption") -> Tuple[str, str]:
    """An option in the help."""
    notes = [f"one of {', '.join(option.choices)}"] if option.choices else []
    notes += ["repeatable"] if option.repeatable else []
    notes += [f"default: {option.default}"] if option.default not in (None, ()) and not option.is_switch else []
    typed = option.flag if option.is_switch else f"{option.flag} {option.metavar}"
    return typed, option.help + (f"  [{'; '.join(notes)}]" if notes else "")


# -- their options as those of the command ----------------------------------------------------------------------------


def _flags(function: Callable[..., None]) -> Set[str]:
    """Names of the options that a function has itself."""
    named = {
        word for parameter in _parameters(function) for word in getattr(parameter.default, "param_decls", None) or ()
    }
    return named | set(HELP_NAMES["help_option_names"])


def _parameters(function: Callable[..., None]) -> List[inspect.Parameter]:
    found = [parameter for name, parameter in inspect.signature(function).parameters.items() if name not in _GROUPS]
    place = [parameter.name for parameter in found].index("root")
    texts = [_text_parameter(name, option) for name, option in text_options.OPTIONS.items()]
    return [*found[:place], *texts, *found[place:]]


def _distinct(corpora: Sequence["Corpus"], taken: Set[str]) -> Tuple[List["Corpus"], List[str]]:
    """The corpora with those options that can be typed, and a sentence on each that can not.

    Several corpora may have the same option, if all of them take a value or none does.
    """
    first: Dict[str, "CorpusOption"] = {}
    usable, problems = [], []
    for corpus in corpora:
        kept = []
        for option in corpus.options:
            other = first.setdefault(option.flag, option)
            whose = "the command's own" if option.flag in taken else "of another kind in another corpus"
            if option.flag in taken or (option.is_switch, option.repeatable) != (other.is_switch, other.repeatable):
                brought = f" of the package {corpus.package}" if corpus.package is not None else ""
                problems.append(
                    f"the option {option.flag} of the corpus {corpus.name}{brought} is left out: it is {whose}"
                )
            else:
                kept.append(option)
        usable.append(replace(corpus, options=kept))
    return usable, problems


def _taking(function: Callable[..., None], corpora: Sequence["Corpus"], problems: Sequence[str]) -> Callable[..., None]:
    """The function, as one that Typer finds the options of corpora in. It is given those that were typed."""
    extra = {option.key: _parameter(option) for corpus in corpora for option in corpus.options}

    @functools.wraps(function)
    def taking(**values: Any) -> None:
        typed = {key: values.pop(parameter.name) for key, parameter in extra.items()}
        given = {key: value for key, value in typed.items() if value not in (None, [], (), False)}
        text = text_options.TextOptions(**{name: values.pop(name) for name in text_options.OPTIONS})
        function(**values, text=text, own=OwnOptions(given, problems))

    parameters = [*_parameters(function), *extra.values()]
    taking.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    hints = {name: hint for name, hint in function.__annotations__.items() if name not in _GROUPS}
    more = {parameter.name: parameter.annotation for parameter in parameters if parameter.name not in hints}
    taking.__annotations__ = {**hints, **more}
    return taking


def _text_parameter(name: str, option: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=option, annotation=Optional[str])


def _parameter(option: "CorpusOption") -> inspect.Parameter:
    """As Typer takes an option. Hidden: the help shows it with its corpus. What it means is for the corpus to say."""
    default: Any = False if option.is_switch else [] if option.repeatable else None
    annotation: Any = bool if option.is_switch else List[str] if option.repeatable else Optional[str]
    shown = {} if option.is_switch else {"metavar": option.metavar}
    declared = typer.Option(default, option.flag, hidden=True, **shown)
    name = f"{_OWN}{option.key}"
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=declared, annotation=annotation)
