"""The options that say how a model's labels become words, for every command that transcribes."""

from __future__ import annotations

import typer

from asrctl.cli import numbers, options

DECODER = options.one_of(
    "--decoder",
    "decoder",
    lambda: ("greedy", "beam", "tuned"),
    "greedy, beam or tuned; default: beam with --lm or --hotwords, else greedy.",
    None,
)
BEAM_WIDTH = numbers.option(
    "--beam-width",
    "a whole number",
    example="100",
    metavar="N",
    low=1,
    high=10_000,
    whole=True,
    help="Most hypotheses kept by the search; default: 100.",
)
ALPHA = numbers.option(
    "--alpha",
    "a number",
    example="0.5",
    metavar="WEIGHT",
    low=0,
    high=10,
    help="Language model's weight; default: 0.5.",
)
BETA = numbers.option(
    "--beta", "a number", example="1.5", metavar="SCORE", low=-20, high=20, help="Added for each word; default: 1.5."
)
LM = typer.Option(
    None,
    "--lm",
    metavar="NAME|FILE",
    help="Search with this language model: one of `asrctl lm SOURCE`, an ARPA file, or KenLM's binary one.",
)
HOTWORDS = typer.Option(
    None,
    "--hotwords",
    metavar="FILE",
    help="Words and phrases to hear more readily: one a line, if you like with a tab and a weight.",
)
HOTWORD_WEIGHT = numbers.option(
    "--hotword-weight",
    "a number",
    example="5",
    metavar="WEIGHT",
    low=0,
    high=100,
    help="Weight of hotwords without one of their own; default: 5.",
)
