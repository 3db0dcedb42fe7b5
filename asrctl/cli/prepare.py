"""`asrctl prepare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, List, Mapping, Optional

import typer

from asrctl.cli import corpus_command, mix, numbers, options, preview, text_options
from asrctl.cli import corpus_options as corpora
from asrctl.cli.report import Output, Report, session, table
from asrctl.cli.text_options import TextOptions
from asrctl.errors import UsageError
from asrctl.messages import amounts
from asrctl.storage import files

if TYPE_CHECKING:
    from asrctl.commands.prepare import PrepareResult
    from asrctl.commands.prepare_plan import PreparePlan
    from asrctl.commands.prepare_request import PrepareRequest
    from asrctl.storage.workspace import Workspace

# Beside those of the corpora.
EXAMPLES = (
    "asrctl prepare manifest utterances.csv --dry-run",
    "asrctl prepare manifest utterances.csv --show 5",
    "asrctl prepare mix first=2 second=1 --name both",
    "asrctl prepare folder recordings --shard 1/2",
    "asrctl prepare folder recordings --merge",
)

_SECONDS = "a number of seconds"
_MIN_S = numbers.option(
    "--min-s", _SECONDS, example="0.5", metavar="SECONDS", low=0, high=600, help="Drop shorter utterances."
)
_MAX_S = numbers.option(
    "--max-s", _SECONDS, example="20", metavar="SECONDS", low=0.01, high=600, help="Drop longer ones; default: 20."
)
_SAMPLE_RATE = numbers.option(
    "--sample-rate",
    "a whole number",
    example="16000",
    metavar="HZ",
    low=4000,
    high=48000,
    whole=True,
    help="Samples per second, 4000 to 48000; default: 16000.",
)
_MAX_REJECTS = numbers.option(
    "--max-rejects",
    "a share",
    example="0.05 or 5%",
    metavar="SHARE",
    default=0.05,
    low=0,
    high=1,
    share=True,
    help="Share of the utterances that may be dropped, such as 0.05 or 5%.",
)
_DROP = typer.Option(
    None,
    "--drop",
    metavar="FILE",
    parser=files.expanded,
    help="Leave utterances out: an audit's report.json, or a list of IDs with reasons.",
)

_SHARD = typer.Option(
    None, "--shard", metavar="I/N", help="Only decode share I of N, as one of N jobs on a file system that they share."
)
_ENGINE = options.one_of("--engine", "engine", lambda: ("ray",), "Let a cluster decode: ray.")
_ADDRESS = typer.Option(
    None, "--address", metavar="HOST:PORT", help="Of the cluster; default: RAY_ADDRESS, or the one on this machine."
)
_MERGE = typer.Option(False, "--merge", help="Take what the jobs of --shard have decoded.")


def command(
    corpus: str = corpora.CORPUS,
    source: Optional[str] = corpora.SOURCE,
    train: List[str] = corpora.TRAIN,
    eval: List[str] = corpora.EVAL,
    test: List[str] = corpora.TEST,
    name: Optional[str] = corpora.NAME,
    preset: Optional[str] = options.PRESET,
    vocab: Optional[str] = typer.Option(None, "--vocab", help="Name of a vocabulary; default: this corpus' own."),
    min_s: Optional[float] = _MIN_S,
    max_s: Optional[float] = _MAX_S,
    sample_rate: Optional[int] = _SAMPLE_RATE,
    max_rejects: float = _MAX_REJECTS,
    drop: Optional[Path] = _DROP,
    root: Optional[Path] = corpora.ROOT,
    no_download: bool = corpora.NO_DOWNLOAD,
    workers: Optional[int] = options.WORKERS,
    force: bool = options.FORCE,
    dry_run: bool = options.DRY_RUN,
    show: Optional[int] = preview.SHOW,
    shard: Optional[str] = _SHARD,
    merge: bool = _MERGE,
    engine: Optional[str] = _ENGINE,
    address: Optional[str] = _ADDRESS,
    workspace: Path = options.WORKSPACE,
    json: bool = options.JSON,
    verbose: bool = options.VERBOSE,
    text: TextOptions = TextOptions(),
    own: corpora.OwnOptions = corpora.OwnOptions(),
) -> None:
    """Turn a corpus into data that training reads: decoded, checked, in shards."""
    with session("prepare", Output(json, verbose, workspace)) as report:
        from asrctl.commands.prepare_request import PrepareRequest
        from asrctl.commands.rule_flags import RuleFlags
        from asrctl.storage.workspace import Workspace

        flags = RuleFlags(preset=preset, sample_rate=sample_rate, min_s=min_s, max_s=max_s, **text.flags())
        splits = {"train": train, "eval": eval, "test": test}
        choice = corpora.choice(
            corpus, source, **splits, root=root, download=not no_download, name=name, own=own, report=report
        )
        place = Workspace(workspace)
        typed = place.named(("asrctl", *sys.argv[1:]))
        request = PrepareRequest(choice, flags, vocab, workers, max_rejects, force, typed, merge, drop)
        _refuse_contradictions(shard, merge, engine, address)
        if show is not None or dry_run:
            _look(place, request, show, report)
        elif shard is not None:
            _share(place, request, shard, report)
        else:
            result = _prepared(place, request, engine, address, report)
            report.done(result.as_dict(), result_lines(result, next_line(place, result, preset)))


def _look(place: "Workspace", request: "PrepareRequest", show: Optional[int], report: Report) -> None:
    """Tell what would be done, or `show` utterances as they would enter the model; nothing is written."""
    if show is not None:
        from asrctl.commands.preview import preview as look

        seen = look(place, request, show, report.emit)
        report.done(seen.as_dict(), preview.lines(seen))
        return
    from asrctl.commands.prepare_plan import plan

    planned = plan(place, request, report.emit)
    report.done(planned.as_dict(), plan_lines(planned, place))


def _refuse_contradictions(shard: Optional[str], merge: bool, engine: Optional[str], address: Optional[str]) -> None:
    given = [name for name, there in (("--shard", shard), ("--merge", merge), ("--engine", engine)) if there]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} are ways to do the same, so they exclude each other", fix="give one")
    if address is not None and engine is None:
        raise UsageError("--address is that of a cluster, and none is asked for", fix="add --engine ray")


def _prepared(
    place: "Workspace", request: "PrepareRequest", engine: Optional[str], address: Optional[str], report: Report
) -> "PrepareResult":
    if engine is None:
        from asrctl.commands.prepare import prepare

        return prepare(place, request, report.emit)
    from asrctl.commands.prepare_ray import prepare_on_ray

    return prepare_on_ray(place, request, address, report.emit)


def _share(place: "Workspace", request: "PrepareRequest", shard: str, report: Report) -> None:
    """Do what one of several jobs has to do."""
    from asrctl.commands import prepare_share

    result = prepare_share.prepare_share(place, request, prepare_share.parse(shard), report.emit)
    counts = f"{amounts.count(result.decoded, 'utterance')} decoded, {result.rejected} can not be used"
    left = f", {result.left} left for --merge" if result.left else ""
    told = f"shard {result.shard} of {result.name}: {counts}{left} ({result.seconds:.1f} s)"
    missing = prepare_share.numbers(result.missing)
    following = f"missing: {missing}" if missing else f"next: {prepare_share.again(request, '--merge')}"
    report.done(result.as_dict(), [told, following])


def build(name: str) -> Any:
    """The command with the options of all corpora, which its help lists."""
    return corpus_command.build(name, command, EXAMPLES, most=2, cls=PrepareCommand)


class PrepareCommand(corpus_command.CorpusCommand):
    """`prepare mix` has arguments and options of its own, and its own help."""

    def make_context(self, info_name: Any, args: List[str], parent: Any = None, **extra: Any) -> Any:
        words = mix.words(args, self.params)
        if words is None:
            return super().make_context(info_name, args, parent, **extra)
        return mix.build(f"{info_name} {mix.WORD}").make_context(f"{info_name} {mix.WORD}", words, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Several at once"):
            formatter.write_dl([(f"{mix.WORD} NAME=WEIGHT ...", mix.HELP)])


def plan_lines(planned: "PreparePlan", place: "Workspace") -> List[str]:
    """What would be done, and where each setting comes from."""
    lines = []
    if planned.splits:
        lines.append(f"disk: about {amounts.size(planned.estimated_bytes)} in {place.root / 'prepared'}")
    lines += [f"to download: {name} ({amounts.size(count)})" for name, count in planned.downloads.items()]
    for role, split in planned.splits.items():
        lines.append(f"{role}: {amounts.count(split['utterances'], 'utterance')} from {', '.join(split['sources'])}")
    lines += corpora.unused(planned.unused)
    lines += [*corpora.alphabet(planned.alphabet), *text_options.lines(planned.texts)]
    if planned.note:
        lines.append(planned.note)
    return lines + [f"{key}: {origin}" for key, origin in planned.origins.items() if origin != "default"]


def next_line(place: "Workspace", result: "PrepareResult", preset: Optional[str]) -> str:
    """The command that trains on the data."""
    from asrctl.commands.status import after_preparing
    from asrctl.data.dataset import PreparedData

    return after_preparing(place, PreparedData(place.resolve("prepared", result.id, fix="")), preset)


def result_lines(result: "PrepareResult", following: str) -> List[str]:
    """Splits, rejects, and what to type next."""
    rows = [
        [role, split.utterances, f"{split.seconds / 3600:.2f} h", split.rejected, _reasons(split.reasons)]
        for role, split in result.splits.items()
    ]
    done = f"prepared in {result.seconds:.1f} s" if result.new else "was prepared already"
    return [
        *table(rows, header=["split", "utterances", "speech", "rejected", ""]),
        *corpora.unused(result.unused),
        *corpora.alphabet(result.alphabet),
        *text_options.lines(result.texts),
        *_rejects(result),
        f"{result.name} {done}: {result.path} ({amounts.size(result.bytes)}, "
        f"{amounts.count(result.vocabulary['size'], 'token')})",
        *(["presets to train by: asrctl presets list"] if "train" in result.splits else []),
        f"next: {following}",
    ]


def _rejects(result: "PrepareResult") -> List[str]:
    """Some of what was left out, each with its path, and where the rest stands."""
    from asrctl.data import rejects

    folders = [result.path / role for role, split in result.splits.items() if split.rejected]
    if not folders:
        return []
    found = rejects.first(folders)
    total = sum(split.rejected for split in result.splits.values())
    rest = (
        f"  (all {total}: {', '.join(str(folder / rejects.FILE) for folder in folders)})" if total > len(found) else ""
    )
    return ["left out:", *(f"  {reject}" for reject in found), *([rest] if rest else [])]


def _reasons(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items())
