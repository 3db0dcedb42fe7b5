"""What is hidden in texts that are shown or kept, and what is left as it is.

Tokens are drawn here, character by character: one that is written down would be found by the very scanners whose lists
asrctl follows.
"""

from __future__ import annotations

import random
import string
import time
from pathlib import Path
from typing import Any

import pytest

from asrctl.storage.redact import redact

LETTERS, DIGITS, HEX = string.ascii_letters, string.digits, "0123456789abcdef"
WORD, CAPITALS = LETTERS + DIGITS, string.ascii_uppercase + DIGITS
URLSAFE, BASE64 = WORD + "-_", WORD + "+/"

# "PREFIX", alphabet, length, and so on: as the makers or their scanners describe them.
TOKENS: Any = [
    *(((f"gh{kind}_", WORD, 36)) for kind in "pousr"),
    ("github_pat_", WORD, 22, "_", WORD, 59),
    *((f"gl{kind}-", URLSAFE, 20) for kind in ("pat", "ptt", "dt", "rt", "cbt", "ft", "imt", "oas", "soat")),
    ("glagent-", URLSAFE, 50),
    ("GR1348941", URLSAFE, 20),
    ("xoxb-", DIGITS, 12, "-", DIGITS, 13, "-", WORD, 24),
    ("xoxp-", DIGITS, 11, "-", DIGITS, 11, "-", DIGITS, 12, "-", HEX, 32),
    ("xoxa-2-", WORD, 40),
    ("xoxr-", WORD, 40),
    ("xoxs-", DIGITS, 10, "-", DIGITS, 10, "-", HEX, 20),
    ("xoxe.xoxp-1-", CAPITALS, 163),
    ("xapp-1-", CAPITALS, 11, "-", DIGITS, 13, "-", HEX, 64),
    ("https://hooks.slack.com/services/T", CAPITALS, 9, "/B", CAPITALS, 9, "/", WORD, 24),
    ("AIza", URLSAFE, 35),
    ("GOCSPX-", URLSAFE, 28),
    ("ya29.", URLSAFE, 80),
    ("npm_", WORD, 36),
    ("pypi-AgEIcHlwaS5vcmc", URLSAFE, 120),
    ("pypi-AgENdGVzdC5weXBpLm9yZw", URLSAFE, 120),
    ("rubygems_", HEX, 48),
    ("dckr_pat_", URLSAFE, 27),
    ("AKCp", WORD, 69),
    ("ATATT3", URLSAFE, 186),
    *((prefix, CAPITALS, 16) for prefix in ("AKIA", "ASIA", "AROA", "AIDA", "A3TX")),
    ("aws_secret_access_key = ", BASE64, 40),
    ("AWS_SECRET_ACCESS_KEY=", BASE64, 40),
    ("sk-", WORD, 20, "T3BlbkFJ", WORD, 20),
    ("sk-proj-", URLSAFE, 74, "T3BlbkFJ", URLSAFE, 74),
    ("sk-svcacct-", URLSAFE, 80),
    ("sk-ant-api03-", URLSAFE, 93, "AA"),
    ("sk-or-v1-", HEX, 64),
    ("sk-", HEX, 32),
    ("hf_", LETTERS, 34),
    ("api_org_", LETTERS, 34),
    ("gsk_", WORD, 52),
    ("xai-", WORD, 80),
    ("pplx-", WORD, 48),
    ("r8_", WORD, 37),
    ("nvapi-", URLSAFE, 64),
    ("lsv2_pt_", HEX, 32, "_", HEX, 10),
    ("sk_live_", WORD, 24),
    ("rk_test_", WORD, 24),
    ("whsec_", BASE64, 32),
    ("dop_v1_", HEX, 64),
    ("dapi", HEX, 32),
    ("hvs.", URLSAFE, 90),
    (WORD, 14, ".atlasv1.", URLSAFE, 64),
    ("pul-", HEX, 40),
    ("pscale_tkn_", URLSAFE, 43),
    ("dp.pt.", WORD, 43),
    ("sha256~", URLSAFE, 43),
    ("SG.", URLSAFE, 22, ".", URLSAFE, 43),
    ("xkeysib-", HEX, 64, "-", WORD, 16),
    ("SK", HEX, 32),
    (HEX, 32, "-us12"),
    ("shpat_", HEX, 32),
    ("sntryu_", HEX, 64),
    ("glsa_", WORD, 32, "_", HEX, 8),
    ("lin_api_", WORD, 40),
    ("ntn_", DIGITS, 11, WORD, 35),
    ("PMAK-", HEX, 24, "-", HEX, 34),
    ("NRAK-", CAPITALS, 27),
    ("AGE-SECRET-KEY-1", CAPITALS, 58),
    (DIGITS, 9, ":AA", URLSAFE, 33),
    ("MT", WORD, 22, ".", URLSAFE, 6, ".", URLSAFE, 38),
    ("LTAI", WORD, 20),
    ("AKID", WORD, 32),
    (WORD, 3, "8Q~", URLSAFE, 34),
    ("https://outlook.webhook.office.com/webhookb2/", HEX, 40),
    ("https://discord.com/api/webhooks/", DIGITS, 18, "/", URLSAFE, 68),
    ("eyJ", URLSAFE, 30, ".eyJ", URLSAFE, 80, ".", URLSAFE, 43),
    ("eyJ", URLSAFE, 30, ".eyJ", URLSAFE, 80),
    ("Authorization: Bearer ", BASE64, 40),
    ("authorization: Basic ", BASE64, 20, "=="),
    ("{'Authorization': 'token ", HEX, 40, "'}"),
    ("Proxy-Authorization: Basic ", BASE64, 16),
    ("Bearer 7", URLSAFE, 40),
    ("X-Api-Key: 7", WORD, 24),
    ("PRIVATE-TOKEN: 7", WORD, 20),
    ("Cookie: session=", WORD, 32),
    ("password=", WORD, 10),
    ('"client_secret": "7', WORD, 30, '"'),
    ("api_key='", WORD, 20, "'"),
    ("AccountKey=", BASE64, 86, "=="),
    ("--token ", WORD, 20),
    ("--hub-password=", WORD, 12),
    ("https://host/x?sig=", URLSAFE, 43),
    ("https://host/x?a=1&access_token=", WORD, 30),
    ("https://host/x#access_token=", WORD, 30),
    ("https://host/x?X-Amz-Signature=", HEX, 64),
    *(
        (f"https://user:{before}", WORD, 12, f"{after}@example.org/x")
        for before, after in (
            ("", ""),
            ("a/", ""),
            ("", "/b"),
            ("a'", ""),
            ("", "'b'"),
            ('"', ""),
            ("", "@"),
            ("p@", "/?#"),
            ("(", ")"),
        )
    ),
    ("https:/user:a/", WORD, 12, "@example.org/x"),
    ("http://", WORD, 20, "@localhost:3128/"),
    ("https://u:a/", WORD, 12, "@[::1]:80/"),
    ("redis://:a/", WORD, 12, "@cache:6379/0"),
    ("postgresql+psycopg2://u:", WORD, 12, "/@db"),
    ("git+https://oauth2:", WORD, 20, "@gitlab.example.org/a/b.git@main"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\n", BASE64, 300, "\n-----END OPENSSH PRIVATE KEY-----"),
    ("-----BEGIN RSA PRIVATE KEY-----\n", BASE64, 300),
]


def drawn(form: Any, seed: int) -> Any:
    """(the text, the characters in it that nobody may see)."""
    chance, text, secret = random.Random(seed), "", []
    parts = list(form)
    while parts:
        part = parts.pop(0)
        if parts and isinstance(parts[0], int):
            part = "".join(chance.choice(part) for _ in range(parts.pop(0)))
            secret.append(part)
        text += part
    return text, secret


@pytest.mark.parametrize("form", TOKENS, ids=lambda form: form[0][:30] if len(form[0]) < 60 else "drawn")
def test_a_secret_of_a_known_form_is_hidden(form: Any) -> None:
    for around in ("{}", "it says {} there", "/data/{}/x.wav", "['{}', 1]", "a={}\nb", "x_{}"):
        check_hidden(form, around)


def check_hidden(form: Any, around: str) -> None:
    if around == "x_{}" and (":" in form[0] or " " in form[0] or form[0][:2] == "--"):
        around = "x {}"
    for seed in range(8):
        text, secret = drawn(form, seed)
        shown = redact(around.format(text))
        long = [part for part in secret if len(part) >= 8]
        assert not [part for part in long if part in shown], shown
        assert "***" in shown


PLAIN = [
    "d41d8cd98f00b204e9800998ecf8427e",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "sha256:9f86d081884c7d65",
    "5e80d595-8c21-4a1b-9d7e-0c1f2a3b4c5d",
    "facebook/wav2vec2-base-960h",
    "hf-internal-testing/tiny-random-Wav2Vec2ForCTC",
    "hf_wav2vec2_base_finetuned",
    "hf_export",
    "sk-learn-baseline-with-a-long-name-2024",
    "sk-SK-female-speakers-common-voice-17",
    "npm_modules",
    "npm_transcripts_of_the_meeting",
    "pypi-mirror-of-2024",
    "gl-espeak",
    "github_pat",
    "xoxo-with-love",
    "AIzawa",
    "asia-northeast1",
    "ASIAN LANGUAGES AND ACCENTS",
    "runs/2024-05-01T12-00-00_base-4ipu-lr1e-4-seed42",
    "my-run_with_a_very_long_name_that_goes_on_0123456789abcdef0123456789",
    "https://host/a@b",
    "http://localhost:8080/x@y",
    "http://host:80",
    "https://github.com/a/b.git@main",
    "s3://bucket/key",
    "user@host:/path",
    "file:///data/a@b.wav",
    "https://medium.com/@somebody/post",
    "hf://datasets/x/y@main/z",
    "https://[::1]:8080/x@y",
    "password: required",
    "the token: it is a word",
    "pad_token=[PAD] unk_token: '[UNK]' word_delimiter_token=|",
    "vocabulary of 32 tokens",
    "key=value",
    "the secret of the bearer of good news",
    "a bearer transcontinentally",
    "optim.learning_rate = 1e-4 (--set)",
    "authorization is required",
    "cookie: chocolate",
    "--set text.remove=,.? --preset tiny-cpu",
    "Basic training",
    "AND THEN SHE SAID",
    "model.safetensors 0123456789",
    "eyJ",
    "U+00FC x3",
    "ghp_short",
    "12345678:AA",
    "M.2.x",
    "API-KEY",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_stays(text: str) -> None:
    for around in ("{}", "it says {} there", "['{}', 1]", "/data/{}/x.wav", '"{}"'):
        assert redact(around.format(text)) == around.format(text)


def test_real_transcripts_stay(real_librispeech: Path, real_digits: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in sorted(real_librispeech.rglob("*.trans.txt"))]
    texts.append(real_digits.read_text(encoding="utf-8"))
    for text in texts:
        assert redact(text) == text
        assert redact(text.lower()) == text.lower()


def test_passwords_of_the_environment_are_hidden_however_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:s3cr%2Ft/p'w@proxy.example.org:3128")
    monkeypatch.setenv("NO_SCHEME_PROXY", "me:an0ther/0ne@proxy:3128")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://u:f1rst/pw@a.org https://u:s3cond/pw@b.org")
    monkeypatch.setenv("MYSQL_PWD", "hunter2hunter2")
    monkeypatch.setenv("PWD", "/some/where")
    for secret in ("s3cr%2Ft/p'w", "s3cr/t/p'w", "an0ther/0ne", "f1rst/pw", "s3cond/pw", "hunter2hunter2"):
        assert redact(f"it says {secret} there") == "it says *** there"
    assert redact("in /some/where") == "in /some/where"


@pytest.mark.parametrize(
    "text",
    [
        "http://" + "a:" * 50000 + "@",
        "token-" * 20000 + "=",
        "-----BEGIN PRIVATE KEY-----" * 2000,
        "key_" * 30000 + ":",
        "eyJ." * 30000,
    ],
)
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 5
