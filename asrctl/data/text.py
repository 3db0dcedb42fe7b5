"""Transcript rules and the character vocabulary."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from asrctl.config import languages
from asrctl.data import orthography, phonemes, subwords
from asrctl.data.replacements import Table
from asrctl.data.subwords import SPACES, SubwordEncoder, Subwords
from asrctl.errors import BadData, UsageError
from asrctl.messages import suggestions
from asrctl.storage import files, records
from asrctl.storage.hashing import digest
from asrctl.storage.records import is_text

CASES = ("lower", "upper", "keep")
_FIX_VOCABULARY = "build it again with `asrctl vocab CORPUS`, or choose another checkpoint"


@dataclass(frozen=True)
class TextRules:
    """How a transcript becomes the text that is learned.

    In this order: Unicode NFC; what is settled in how `language` is written (data/orthography.py); `replace`, a table
    of replacements (data/replacements.py), which meets the text in its case; `remove`, a string of plain characters
    that are dropped; case; white space collapsed. Letters of `replace` and `remove` mean both cases, unless case is
    keep. The word delimiter stands for a space in the vocabulary; where it occurs in the text itself it counts as a
    space. phonemes: a voice of eSpeak NG by which the text is spoken at last, and phonemes are learned
    (data/phonemes.py).
    """

    case: str = "lower"
    remove: str = ""
    word_delimiter: str = "|"
    unk: str = "[UNK]"
    pad: str = "[PAD]"
    language: Optional[str] = None
    replace: Mapping[str, str] = field(default_factory=dict, hash=False)
    phonemes: Optional[str] = None

    def __post_init__(self) -> None:
        if self.case not in CASES:
            raise UsageError(f"{self.case!r} is no case policy", fix=suggestions.one_of(self.case, CASES))
        if len(self.word_delimiter) != 1 or self.word_delimiter.isspace():
            raise UsageError(
                f"{self.word_delimiter!r} can not delimit words", fix="use one visible character, such as |"
            )
        if len({self.word_delimiter, self.unk, self.pad}) != 3 or not self.unk or not self.pad:
            raise UsageError("word delimiter, [UNK] and [PAD] must differ", fix="give each its own token")
        if self.language is not None:
            try:
                object.__setattr__(self, "language", languages.canonical(self.language))
            except ValueError as error:
                raise UsageError(str(error), fix="write a code such as tr, ar or de-CH") from None
        if self.phonemes is not None:
            object.__setattr__(self, "phonemes", self.phonemes.strip().lower())
        table = Table(self.replace, lambda text: self._cased(self._written(text))) if self.replace else None
        object.__setattr__(self, "_table", table)
        object.__setattr__(self, "replace", {} if table is None else table.rules)
        object.__setattr__(self, "_gone", {ord(character): None for character in self._removed()})

    def apply(self, text: str) -> str:
        """The text that is learned; words are separated by single spaces. Of phonemes see data/phonemes.py."""
        return self.finished(self.replaced(text))

    def units(self, text: str) -> Sequence[str]:
        """A text that is learned, in what becomes labels: characters or phonemes, and spaces."""
        return text if self.phonemes is None else phonemes.units(text)

    def replaced(self, text: str, uses: "Optional[Counter[str]]" = None) -> str:
        """The first half: the text with its replacements and all that `remove` will drop.

        uses: is added how often each rule of `replace` was applied.
        """
        text = self._written(unicodedata.normalize("NFC", text))
        table: Optional[Table] = self._table  # type: ignore[attr-defined]
        if table is None:
            return text
        doubled = {code: None for code in self._gone if len(self._cased(chr(code))) > 1}  # type: ignore[attr-defined]
        return table(self._cased(text.translate(doubled)), uses)

    def finished(self, text: str) -> str:
        """The second half: removal, case, white space, phonemes."""
        spelled = self.spelled(text)
        return spelled if self.phonemes is None else phonemes.spoken(spelled, self.phonemes)

    def spelled(self, text: str) -> str:
        """The second half without phonemes."""
        gone: Dict[int, None] = self._gone  # type: ignore[attr-defined]
        if self.case != "keep":
            # Before as well: the capitals of a letter that has two of them (SS) could not be told from others.
            text = self._cased(text.translate(gone))
        table: Dict[int, Any] = {**gone, ord(self.word_delimiter): " "}
        return " ".join(text.translate(table).split())

    def _written(self, text: str) -> str:
        return text if self.language is None else orthography.written(text, self.language)

    def _cased(self, text: str) -> str:
        if self.case == "keep":
            return text
        change = orthography.lower if self.case == "lower" else orthography.upper
        # Changing case can decompose (Turkish dotted I), hence NFC once more.
        return unicodedata.normalize("NFC", change(text, self.language or ""))

    def _removed(self) -> str:
        """`remove` as the text has it once its case is changed, sorted; a letter that becomes two stays as it is."""
        given = set(unicodedata.normalize("NFC", self.remove))
        cased = {character: self._cased(character) for character in given}
        return "".join(sorted({new if len(new) == 1 else old for old, new in cased.items()}))

    def as_dict(self) -> Dict[str, Any]:
        """What names data that is made by these rules: those that came later are in it only where they are set."""
        later = {"language": self.language, "replace": dict(self.replace), "phonemes": self.phonemes}
        return {
            "case": self.case,
            "remove": self._removed(),
            "word_delimiter": self.word_delimiter,
            "unk": self.unk,
            "pad": self.pad,
            **{name: value for name, value in later.items() if value},
        }

    def spelled_out(self) -> Dict[str, Any]:
        """The same with all keys, as a recipe has them."""
        return {"language": None, "replace": {}, "phonemes": None, **self.as_dict()}


# What `clean_up_tokenization_spaces` of transformers' tokenizers takes out, in its order.
_CLEANED = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"), (" 's", "'s"),
    (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id. `pad` is the CTC blank; `word_delimiter` stands for the space between words.

    What asrctl builds has all three. A checkpoint's may lack a word delimiter or a token for unknown characters (None).
    lower_case: its letters are capitals that stand for small ones (`do_lower_case` of a tokenizer). phones: its tokens
    are phonemes, of any number of characters. subwords: the tokenizer that cuts texts into its tokens and puts them
    together again, where these are pieces of words. clean_up: a checkpoint's tokenizer takes the spaces before signs
    and within English contractions out (`clean_up_tokenization_spaces`); no vocabulary that is saved has that.
    """

    tokens: Tuple[str, ...]
    word_delimiter: Optional[str] = "|"
    unk: Optional[str] = "[UNK]"
    pad: str = "[PAD]"
    lower_case: bool = False
    phones: bool = False
    subwords: Optional[Subwords] = None
    clean_up: bool = False

    def __post_init__(self) -> None:
        if len(set(self.tokens)) != len(self.tokens):
            twice = sorted(token for token, count in Counter(self.tokens).items() if count > 1)
            raise BadData(f"the vocabulary holds {', '.join(map(repr, twice))} twice", fix=_FIX_VOCABULARY)
        special = [token for token in (self.word_delimiter, self.unk) if token is not None]
        missing = [token for token in (*special, self.pad) if token not in self.tokens]
        if missing:
            raise BadData(f"the vocabulary has no {', '.join(map(repr, missing))}", fix=_FIX_VOCABULARY)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def ids(self) -> Dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}

    @property
    def blank_id(self) -> int:
        return self.tokens.index(self.pad)

    @property
    def unk_id(self) -> Optional[int]:
        return None if self.unk is None else self.tokens.index(self.unk)

    @property
    def delimiter_id(self) -> Optional[int]:
        return None if self.word_delimiter is None else self.tokens.index(self.word_delimiter)

    @property
    def letters(self) -> Dict[str, int]:
        """Ids of the tokens that are a character (or phoneme) of a text, the delimiter too; unk and pad never are."""
        special: Tuple[Optional[str], ...] = (self.unk, self.pad)
        if self.subwords is not None:
            special += SPACES
        if self.phones:
            return {token: index for token, index in self.ids.items() if token not in special}
        found = {token: index for token, index in self.ids.items() if len(token) == 1 and token not in special}
        if not self.lower_case:
            return found
        capitals = {token: index for token, index in found.items() if token == token.upper()}
        return {token.lower(): index for token, index in capitals.items() if len(token.lower()) == 1}

    @property
    def digest(self) -> str:
        """sha256 over the tokens in their order and the special ones: what a model's head is bound to."""
        kind: List[Any] = [True] * self.lower_case + ["phones"] * self.phones
        kind += [] if self.subwords is None else [self.subwords.json]
        return digest([list(self.tokens), self.word_delimiter, self.unk, self.pad] + kind)

    def special(self) -> Dict[str, Any]:
        """What special_tokens.json holds."""
        found: Dict[str, Any] = {"word_delimiter": self.word_delimiter, "unk": self.unk, "pad": self.pad}
        kind = {"lower_case": self.lower_case, "phones": self.phones}
        found.update({name: True for name, is_so in kind.items() if is_so})
        return found if self.subwords is None else {**found, "subwords": self.subwords.kind}

    def as_dict(self) -> Dict[str, Any]:
        return {"tokens": list(self.tokens), **self.special()}

    def save(self, folder: Path) -> None:
        """Write `vocab.json` ({token: id}, as tokenizers have it) and `special_tokens.json` into `folder`.

        And the tokenizer.json of a tokenizer of pieces of words.
        """
        if self.subwords is not None:
            files.write_text(folder / subwords.FILE, self.subwords.json)
        files.write_json(folder / "vocab.json", self.ids)
        files.write_json(folder / "special_tokens.json", self.special())

    @classmethod
    def load(cls, folder: Path) -> "Vocabulary":
        """What `save` wrote. Raises BadData."""
        special = read_special(folder, fix=_FIX_VOCABULARY)
        kind = special.pop("subwords", None)
        if kind is not None:
            special["subwords"] = Subwords.read(folder / subwords.FILE, kind, fix=_FIX_VOCABULARY)
        ids = files.read_json(folder / "vocab.json", fix=_FIX_VOCABULARY)
        return cls(tokens_by_id(ids, folder / "vocab.json", fix=_FIX_VOCABULARY), **special)

    def encoder(self) -> Callable[[str], Tuple[List[int], Dict[str, int]]]:
        """Normalized text -> (label ids, {unknown character or phoneme: count})."""
        return Encoder(self) if self.subwords is None else SubwordEncoder(self.subwords, self.unk_id)

    def decode(self, ids: Sequence[int]) -> str:
        """Frame labels -> text: collapse repeats, drop the blank (greedy CTC, Graves et al. 2006, section 3.2)."""
        blank, kept, previous = self.blank_id, [], None
        for index in ids:
            if index != previous and index != blank:
                kept.append(index)
            previous = index
        return (
            self.subwords.decode(kept) if self.subwords is not None else self.text(map(self.tokens.__getitem__, kept))
        )

    def text(self, pieces: Iterable[str]) -> str:
        """Tokens -> text as transformers' tokenizer has it: a delimiter is a space, and none stands at the ends."""
        if self.phones:
            return phonemes.joined([" " if piece == self.word_delimiter else piece for piece in pieces])
        if self.subwords is not None:
            ids = self.ids
            return self.subwords.decode([ids[piece] for piece in pieces])
        text = "".join(" " if piece == self.word_delimiter else piece for piece in pieces).strip()
        text = text.lower() if self.lower_case else text
        for spaced, close in _CLEANED if self.clean_up else ():
            text = text.replace(spaced, close)
        return text


class Encoder:
    """Text -> label ids, with the unknown characters counted as they come by.

    Where the vocabulary has no token for unknown characters, they get no label.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._ids = dict(vocabulary.letters)
        if vocabulary.delimiter_id is not None:
            self._ids[" "] = vocabulary.delimiter_id
        self._unk = vocabulary.unk_id
        self._phones = vocabulary.phones
        # Most models of phonemes know no border of words.
        self._borders = not vocabulary.phones or vocabulary.delimiter_id is not None

    def __call__(self, text: str) -> Tuple[List[int], Dict[str, int]]:
        """Normalized text -> (label ids, {unknown character or phoneme: count})."""
        units = phonemes.units(text) if self._phones else text
        if not self._borders:
            units = [unit for unit in units if unit != " "]
        found = [self._ids.get(character, self._unk) for character in units]
        ids = [index for index in found if index is not None]
        if len(ids) == len(units) and self._unk not in ids:
            return ids, {}
        return ids, dict(Counter(character for character in units if character not in self._ids))


@dataclass(frozen=True)
class _Special:
    """What special_tokens.json may hold; what is missing is as Vocabulary has it."""

    word_delimiter: Optional[str] = None
    unk: Optional[str] = None
    pad: str = ""
    lower_case: bool = False
    phones: bool = False
    subwords: Optional[str] = None


def read_special(folder: Path, *, fix: str) -> Dict[str, Any]:
    """special_tokens.json, as `Vocabulary.save` writes it. Raises BadData (with `fix`)."""
    path = folder / "special_tokens.json"
    found = files.read_json(path, fix=fix)
    records.read(_Special, found, f"{path} must map names to tokens", fix=fix)
    unknown = sorted(found.keys() - records.kinds(_Special))
    if unknown:
        raise BadData(f"{path} holds unknown keys {unknown}", fix=fix)
    return found


def tokens_by_id(ids: Any, where: Path, *, fix: str) -> Tuple[str, ...]:
    """{token: id} -> tokens in the order of their ids. Raises BadData (with `fix`) unless the ids are 0..n-1."""
    plain = isinstance(ids, dict) and all(isinstance(i, int) and not isinstance(i, bool) for i in ids.values())
    if not plain:
        raise BadData(f"{where} must map tokens to whole numbers", fix=fix)
    strange = [token for token in ids if not is_text(token)]
    if strange:
        raise BadData(f"{where} holds {strange[0]!r}, half a character", fix=fix)
    if sorted(ids.values()) != list(range(len(ids))):
        raise BadData(f"{where} must use each id from 0 to {len(ids) - 1} once; {_amiss(ids)}", fix=fix)
    return tuple(sorted(ids, key=lambda token: ids[token]))


def _amiss(ids: Mapping[str, int]) -> str:
    """The first id that keeps the ids from being 0..n-1, and why."""
    twice = [index for index, count in Counter(ids.values()).items() if count > 1]
    if twice:
        same = " and ".join(repr(token) for token, index in ids.items() if index == twice[0])
        return f"{same} have the id {twice[0]}"
    return f"no token has the id {min(set(range(len(ids))) - set(ids.values()))}"


def build_vocabulary(characters: Mapping[str, int], rules: TextRules) -> Vocabulary:
    """Characters of normalized text (with their counts) -> sorted characters, then unknown, then pad.

    The delimiter takes the place of the space, as in the original recipe, so that equal texts give equal ids there.
    Raises UsageError where a character is also the token for something else.
    """
    for key, token in (("unk", rules.unk), ("pad", rules.pad)):
        if token in characters:
            raise UsageError(
                f"the transcripts hold {token!r}, so it can not be the {key} token",
                fix=f"choose another one, such as [{key.upper()}], by text.{key} of the preset or --{key} of vocab",
            )
    wanted = set(characters) | {" "}
    tokens = [rules.word_delimiter if character == " " else character for character in sorted(wanted)]
    phones = rules.phonemes is not None
    return Vocabulary(tuple(tokens) + (rules.unk, rules.pad), rules.word_delimiter, rules.unk, rules.pad, phones=phones)
