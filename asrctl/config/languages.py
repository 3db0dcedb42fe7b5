"""Codes of languages, as `text.language` takes them."""

from __future__ import annotations

import re

# ISO 639-1.
_LIST = """aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee
el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja
jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd
ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss
st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu"""
_CODES = frozenset(_LIST.split())
# Members of the macrolanguage `ara`.
_ARABIC = "ara arb arz apc ajp ary arq aeb acm afb acw ars ayl apd"
# ISO 639-2 and -3, and codes that were withdrawn, of the languages that have rules of their own (data/orthography.py).
_LONGER = {
    **dict.fromkeys(_ARABIC.split(), "ar"),
    **{"tur": "tr", "aze": "az", "azj": "az", "azb": "az", "heb": "he", "iw": "he"},
    **{"fas": "fa", "per": "fa", "pes": "fa", "deu": "de", "ger": "de", "ukr": "uk", "bel": "be"},
    **{"tha": "th", "lao": "lo", "khm": "km", "mya": "my", "bur": "my"},
}
# Countries that write a language in another way, as far as it has rules for that.
_REGIONS = {("de", "ch"): "de-ch", ("de", "li"): "de-ch"}


def canonical(tag: str) -> str:
    """A tag as people write it (tr, TR_tr, tur, de-CH) -> the code that rules go by. Raises ValueError."""
    parts = re.split("[-_]", tag.strip().lower())
    code = _LONGER.get(parts[0], parts[0])
    if code not in _CODES and not re.fullmatch("[a-z]{3}", code):
        raise ValueError(f"{tag!r} is no code of a language in ISO 639, such as tr for Turkish")
    region = next((part for part in parts[1:] if len(part) == 2), "")
    return _REGIONS.get((code, region), code)
