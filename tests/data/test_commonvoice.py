"""Releases of Common Voice, as folders and archives, with what is odd in real ones."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import pytest

from asrctl.data.corpora import find, kind_of
from asrctl.data.corpus import CorpusRequest
from asrctl.data.utterance import Utterance
from asrctl.errors import AsrctlError, BadData, UsageError

# Of releases in 2019, 2020, 2022 and since 2024.
HEADERS = (
    "client_id path sentence up_votes down_votes age gender accent",
    "client_id path sentence up_votes down_votes age gender accent locale segment",
    "client_id path sentence up_votes down_votes age gender accents variant locale segment",
    "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale segment",
)
SALT = b"s" * 32
Row = Tuple[str, str, str]

TABLES: Dict[str, List[Row]] = {
    "train": [("ann" * 40, "cv_cy_1.mp3", "one"), ("ann" * 40, "cv_cy_2.mp3", "two")],
    "dev": [("bob" * 40, "cv_cy_3.mp3", "three")],
    "test": [("cat" * 40, "cv_cy_4.mp3", "four")],
    "other": [("dan" * 40, "cv_cy_9.mp3", "nine")],
}
TABLES["validated"] = [
    *(row for split in ("train", "dev", "test") for row in TABLES[split]),
    ("bob" * 40, "cv_cy_5.mp3", "another of a dev speaker"),
    ("eve" * 40, "cv_cy_6.mp3", "Three"),
    ("fay" * 40, "cv_cy_7.mp3", "new"),
]


def release(folder: Path, tables: Dict[str, List[Row]] = TABLES, header: str = HEADERS[-1]) -> Path:
    """A locale's folder; the clips are no sound, as nobody decodes them here."""
    (folder / "clips").mkdir(parents=True)
    for split, rows in tables.items():
        lines = [header.replace(" ", "\t")]
        for client, path, sentence in rows:
            cells = {"client_id": client, "path": path, "sentence": sentence, "locale": folder.name}
            lines.append("\t".join(cells.get(name, "") for name in header.split()))
            (folder / "clips" / path).write_bytes(path.encode())
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "clip_durations.tsv").write_text("clip\tduration[ms]\ncv_cy_1.mp3\t1000\n", encoding="utf-8")
    return folder


def packed(source: Path, target: Path, inside: str) -> Path:
    with tarfile.open(str(target), "w:gz") as archive:
        archive.add(str(source), inside)
    return target


def read(
    source: Path, *splits: str, optional: Sequence[str] = (), told: Optional[List[Any]] = None, **options: Any
) -> List[Utterance]:
    request = CorpusRequest(
        source=source,
        splits=splits,
        optional_splits=tuple(optional),
        options=options,
        emit=[].append if told is None else told.append,
        salt=lambda: SALT,
    )
    return list(find("commonvoice").utterances(request))


def texts(found: List[Utterance]) -> Dict[str, str]:
    return {row.id: row.text for row in found}


@pytest.mark.parametrize("header", HEADERS)
def test_every_release_is_read_wherever_one_points(tmp_path: Path, header: str) -> None:
    folder = release(tmp_path / "all" / "cv-corpus-17.0-2024-03-15" / "cy", header=header)
    told: List[Any] = []
    for source in (folder, folder.parent, folder.parent.parent):
        found = read(source, "train", optional=("dev", "test"), told=told)
        assert [(row.id, row.text, row.split) for row in found] == [
            ("cv_cy_1", "one", "train"), ("cv_cy_2", "two", "train"), ("cv_cy_3", "three", "dev"),
            ("cv_cy_4", "four", "test"),
        ]  # fmt: skip
        assert all(Path(row.audio).read_bytes().decode() == f"{row.id}.mp3" for row in found)
        assert kind_of(source) == "commonvoice"
    assert not told


def test_an_archive_gives_what_its_folder_gives(tmp_path: Path) -> None:
    folder = release(tmp_path / "cy")
    (folder / "clips" / "cv_cy_2.mp3").unlink()
    expected = [(row.id, row.text, row.split, row.speaker) for row in read(folder, "train", "dev")]
    for inside in ("cv-corpus-17.0-2024-03-15/cy", "."):
        archive = packed(folder, tmp_path / "cv-corpus-17.tar.gz", inside)
        assert kind_of(archive) == "commonvoice"
        found = read(archive, "train", "dev")
        assert sorted(expected) == sorted((row.id, row.text, row.split, row.speaker) for row in found)
        missing = next(row for row in found if row.id == "cv_cy_2")
        assert "::" not in missing.audio and not Path(missing.audio).exists()
        assert all("::" in row.audio for row in found if row is not missing)


def test_a_cut_archive_is_refused(tmp_path: Path) -> None:
    archive = packed(release(tmp_path / "cy"), tmp_path / "cv-corpus-17.tar.gz", "r/cy")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(BadData, match="damaged"):
        read(archive, "train")


SENTENCES = {
    '"Good-bye," said the boy.': '"Good-bye," said the boy.',
    'he said "so': 'he said "so',
    '"': '"',
    '"""Good-bye,"" said the boy."': '"Good-bye," said the boy.',
    "a, b; c | d": "a, b; c | d",
    "  spaced ": "spaced",
    "": "",
}


def test_quotes_are_characters(tmp_path: Path) -> None:
    rows = [("ann", f"{number}.mp3", sentence) for number, sentence in enumerate(SENTENCES)]
    folder = release(tmp_path / "en", {"train": rows})
    assert list(texts(read(folder, "train")).values()) == list(SENTENCES.values())


def test_names_without_an_ending_and_in_other_places_are_found(tmp_path: Path) -> None:
    folder = release(
        tmp_path / "en", {"train": [("a", "one.mp3", "1"), ("a", "two.mp3", "2"), ("a", "three.mp3", "3")]}
    )
    table = (folder / "train.tsv").read_text().replace("one.mp3", "one").replace("two.mp3", "clips/two.mp3")
    (folder / "train.tsv").write_text(table.replace("three.mp3", "../../three.mp3"))
    assert {Path(row.audio) for row in read(folder, "train")} == {
        folder / "clips" / name for name in ("one.mp3", "two.mp3", "three.mp3")
    }


def test_the_rest_of_validated_meets_neither_clips_nor_speakers_of_evaluation(tmp_path: Path) -> None:
    folder = release(tmp_path / "cy")
    for source in (folder, packed(folder, tmp_path / "cv-corpus-1.tar.gz", "r/cy")):
        told: List[Any] = []
        found = read(source, "train", optional=("dev", "test"), told=told, validated_without_test=True)
        train = [row for row in found if row.split == "train"]
        assert sorted(row.id for row in train) == ["cv_cy_1", "cv_cy_2", "cv_cy_6", "cv_cy_7"]
        held = {row.speaker for row in found if row.split != "train"}
        assert not held & {row.speaker for row in train} and len(found) == 6
        messages = [event.message for event in told]
        assert "left out of validated.tsv: 2 clips of dev and test, and 1 more of those who speak there" in messages
        assert any("clip says a sentence that dev or test has too" in message for message in messages)
        named = read(source, "validated", validated_without_test=True)
        assert sorted(row.id for row in named) == sorted(row.id for row in train)


def test_labels_of_speakers_do_not_lead_back(tmp_path: Path) -> None:
    folder = release(
        tmp_path / "cy", {"train": [("ann" * 40, "1.mp3", "a"), ("ann" * 40, "2.mp3", "b"), ("", "3.mp3", "c")]}
    )
    first = read(folder, "train")
    assert first[0].speaker == first[1].speaker and first[2].speaker is None
    assert "ann" not in str([row.as_dict() for row in first])
    assert [row.speaker for row in read(folder, "train")] == [row.speaker for row in first]
    other = CorpusRequest(source=folder, splits=("train",), salt=lambda: b"t" * 32)
    assert next(iter(find("commonvoice").utterances(other))).speaker != first[0].speaker


def refusal(kind: Any, *arguments: Any, **options: Any) -> AsrctlError:
    with pytest.raises(kind) as refused:
        read(*arguments, **options)
    return refused.value


def test_a_language_is_chosen_where_there_are_several(tmp_path: Path) -> None:
    root = tmp_path / "cv-corpus-17.0-2024-03-15"
    for locale in ("cy", "br"):
        release(root / locale)
    archive = packed(root, tmp_path / "cv-corpus-17.tar.gz", root.name)
    for source in (root, archive):
        error = refusal(UsageError, source, "train")
        assert error.message.endswith("2 languages: br, cy") and error.fix == "choose one, such as --locale br"
        assert len(read(source, "train", locale="br")) == 2
        assert "holds no fr (it has br, cy)" in refusal(UsageError, source, "train", locale="fr").message
    assert len(read(root / "br", "train", locale="br")) == 2
    assert "is br, not cy" in refusal(UsageError, root / "br", "train", locale="cy").message
    release(tmp_path / "cv-corpus-18.0" / "cy")
    assert "2 releases of cy" in refusal(BadData, tmp_path, "train", locale="cy").message


def test_what_is_not_there_is_told_with_what_helps(tmp_path: Path) -> None:
    delta = release(tmp_path / "delta" / "cy", {"validated": TABLES["validated"], "other": TABLES["other"]})
    error = refusal(BadData, delta, "train", optional=("dev", "test"))
    assert "has no train.tsv (it has validated, other)" in error.message and "`--train validated`" in str(error.fix)
    assert len(read(delta, "validated", optional=("dev", "test"))) == 7
    assert "no dev.tsv to leave out" in refusal(BadData, delta, "train", validated_without_test=True).message
    whole = release(tmp_path / "whole" / "cy")
    error = refusal(UsageError, whole, "validated", optional=("dev", "test"))
    assert error.message == "validated.tsv holds the clips of dev and test too" and "--validated-without-test" in str(
        error.fix
    )
    assert "no split is for training" in refusal(UsageError, whole, "test", validated_without_test=True).message
    (tmp_path / "packed").mkdir()
    archive = packed(whole, tmp_path / "packed" / "cy.tar.gz", "cy")
    assert str(archive) in str(refusal(BadData, archive.parent, "train").fix)
    assert "is no release" in refusal(BadData, whole / "train.tsv", "train").message


def test_a_row_that_can_not_be_read_is_one_reject(tmp_path: Path) -> None:
    folder = release(tmp_path / "cy")
    with open(folder / "train.tsv", "a", encoding="utf-8") as table:
        table.write("x\t" * 20 + "\n")
    told: List[Any] = []
    found = read(folder, "train", told=told)
    assert len(found) == 3 and not Path(found[-1].audio).exists()
    assert "21 columns where the first line names 13" in told[0].message
    (folder / "dev.tsv").write_text("a\tb\nc\td\n")
    assert "has no column path" in refusal(BadData, folder, "dev").message


def test_columns_that_nobody_knows_are_named(tmp_path: Path) -> None:
    told: List[Any] = []
    read(release(tmp_path / "cy", header=f"{HEADERS[-1]} is_edited mood"), "train", told=told)
    assert told[0].message == "columns of the release that are not used: is_edited, mood"
