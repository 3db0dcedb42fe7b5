"""How secrets look that are known by their form, after the rules that gitleaks and GitHub's secret scanning publish.

Only forms that hardly anything else has: digests, UUIDs, names of runs and files, and sentences are none of them.
Lengths are a little below those of today's tokens, which vary. Each form has a word that is in every such secret, so
that in most texts none needs to be looked for.
"""

from __future__ import annotations

from typing import Tuple

# Some capital or digit among the letters, so that no word and no name in small letters is meant.
_MIXED = "(?=[a-z]*[A-Z0-9])"

# (words of which one is in the secret, form).
TOKENS: Tuple[Tuple[Tuple[str, ...], str], ...] = (
    # Where code and packages are kept
    (("ghp_", "gho_", "ghr_", "ghs_", "ghu_"), r"gh[oprsu]_[A-Za-z0-9]{16,}"),
    (("github_pat_",), r"github_pat_[A-Za-z0-9_]{20,}"),
    (("gl",), r"gl(?:pat|ptt|dt|rt|rtr|cbt|ft|imt|agent|oas|soat|ffct)-[A-Za-z0-9_.-]{16,}"),
    (("GR1348941",), r"GR1348941[A-Za-z0-9_-]{16,}"),
    (("ATATT3", "ATCTT3", "ATBB"), r"AT(?:ATT3|CTT3|BB)[A-Za-z0-9_=-]{20,}"),
    (("npm_",), r"npm_" + _MIXED + r"[A-Za-z0-9]{20,}"),
    (("pypi-",), r"pypi-(?:AgE[A-Za-z0-9_-]{16,}|[A-Za-z0-9_-]{60,})"),
    (("rubygems_", "CLOJARS_"), r"rubygems_[a-f0-9]{40,}|CLOJARS_[A-Za-z0-9]{40,}"),
    (("dckr_",), r"dckr_[a-z]{3,4}_[A-Za-z0-9_-]{20,}"),
    (("AKCp", "cmVmd"), r"AKCp[A-Za-z0-9]{60,}|cmVmd[A-Za-z0-9]{55,}"),
    (("CCIP", "bk"), r"CCIP(?:AT|RJ)_[A-Za-z0-9_]{20,}|bk[a-z]{2}_[a-f0-9]{40}"),
    (("lin_", "ntn_"), r"lin_(?:api|oauth)_[A-Za-z0-9]{30,}|ntn_[A-Za-z0-9]{40,}"),
    (("figd_", "PMAK-"), r"figd_[A-Za-z0-9_-]{30,}|PMAK-[A-Za-z0-9-]{40,}"),
    (("sntry",), r"sntry[su]_[A-Za-z0-9+/=_-]{40,}"),
    (("glsa_", "glc_"), r"glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|glc_eyJ[A-Za-z0-9+/=]{30,}"),
    (("sgp_", "rdme_"), r"sgp_[A-Za-z0-9_]{40,}|rdme_[a-z0-9]{60,}"),
    (("sm_", "NR"), r"sm_[aps]at_[A-Za-z0-9]{16}|NR(?:AK|II|JS|AL)-[A-Za-z0-9-]{19,}"),
    # Clouds and vaults
    (("A",), r"(?:A3T[A-Z0-9]|A(?:KIA|SIA|BIA|CCA|GPA|IDA|ROA|IPA|NPA|NVA))[A-Z0-9]{16}"),
    (("AIza", "GOCSPX-", "ya29."), r"AIza[A-Za-z0-9_-]{30,}|GOCSPX-[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{20,}"),
    (("Q~",), r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.-]{31,}"),
    (("LTAI", "AKID"), r"LTAI" + _MIXED + r"[A-Za-z0-9]{16,}|AKID" + _MIXED + r"[A-Za-z0-9]{28,}"),
    (("do", "dapi"), r"do[opr]_v1_[a-f0-9]{40,}|dapi[a-f0-9]{32}"),
    (("HRKU-",), r"HRKU-[A-Za-z0-9_-]{30,}"),
    (("hv", "atlasv1"), r"hv[bsr]\.[A-Za-z0-9_-]{24,}|[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{40,}"),
    (("fo1_", "fm1", "fm2"), r"fo1_[A-Za-z0-9_-]{40,}|fm[12][ar]?_[A-Za-z0-9+/=]{80,}"),
    (("nfp_", "tk-us-"), r"nfp_[A-Za-z0-9]{30,}|tk-us-[A-Za-z0-9_-]{40,}"),
    (("pscale_",), r"pscale_(?:tkn|oauth|pw)_[A-Za-z0-9=._-]{30,}"),
    (("sbp_", "sb_secret_"), r"sbp_[a-f0-9]{40}|sb_secret_[A-Za-z0-9_-]{20,}"),
    (("pul-", "pnu_", "pnb_"), r"pul-[a-f0-9]{40}|pn[ub]_[A-Za-z0-9]{36}"),
    (("dp.", "dt0"), r"dp\.[a-z]{2,5}\.[A-Za-z0-9]{40,}|dt0[a-z]\d\d\.[A-Z0-9]{24}\.[A-Z0-9]{60,}"),
    (("sha256~",), r"sha256~[A-Za-z0-9_-]{40,}"),
    (("AGE-SECRET", "ops_eyJ"), r"AGE-SECRET-KEY-1[A-Z0-9]{50,}|ops_eyJ[A-Za-z0-9+/=]{50,}"),
    (("A3-",), r"A3-[A-Z0-9]{6}-[A-Z0-9-]{23,}"),
    # Models and experiments
    (("hf_", "api_org_"), r"(?:hf|api_org)_(?:" + _MIXED + r"[A-Za-z0-9]{20,}|[a-z]{30,})"),
    (("sk-",), r"sk-(?:proj|svcacct|admin|ant|or)-[A-Za-z0-9_-]{20,}|sk-" + _MIXED + r"[A-Za-z0-9]{20,}"),
    (("gsk_", "xai-", "pplx-", "r8_"), r"(?:gsk_|xai-|pplx-)[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{30,}"),
    (("nvapi-", "tgp_v1_"), r"nvapi-[A-Za-z0-9_-]{40,}|tgp_v1_[A-Za-z0-9_-]{30,}"),
    (("lsv2_", "KGAT_"), r"lsv2_(?:pt|sk)_[a-f0-9]{32}[a-f0-9_]*|KGAT_[a-f0-9]{32}"),
    (("wandb_v",), r"wandb_v\d_[A-Za-z0-9_]{30,}"),
    # Messages, money and mail
    (("xox", "xapp-"), r"xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}"),
    (("hooks.slack",), r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,}"),
    (("webhook.office", "api/webhooks"), r"webhook\.office\.com/webhookb2/\S{30,}|api/webhooks/\d+/[A-Za-z0-9_-]{30,}"),
    (("M", "N", "O"), r"[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,}"),  # Discord
    ((":AA",), r"\d{8,10}:AA[A-Za-z0-9_-]{32,}"),  # Telegram
    (("k_live_", "k_test_", "k_prod_"), r"[sr]k_(?:live|test|prod)_[A-Za-z0-9]{10,}"),
    (("whsec_", "sq0", "EAA"), r"whsec_[A-Za-z0-9+/=]{20,}|sq0[a-z]{3}-[A-Za-z0-9_-]{22,}|EAA[A-Za-z0-9]{55,}"),
    (("SG.", "sib-"), r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{30,}|x(?:key|smtp)sib-[A-Za-z0-9-]{40,}"),
    (("SK", "-us"), r"SK[0-9a-f]{32}|[0-9a-f]{32}-us\d{1,2}"),
    (("shp", "shippo_"), r"shp(?:at|ca|pa|ss)_[A-Fa-f0-9]{32}|shippo_(?:live|test)_[A-Fa-f0-9]{40}"),
    (("EZAK", "EZTK", "duffel_"), r"EZ[AT]K[A-Za-z0-9]{54}|duffel_(?:test|live)_[A-Za-z0-9_=-]{40,}"),
    (("FLWSECK", "tfp_"), r"FLWSECK_TEST-[A-Za-z0-9-]{12,}|tfp_[A-Za-z0-9_.=-]{50,}"),
    (("aio_", "p8e-", "API-"), r"aio_" + _MIXED + r"[A-Za-z0-9]{28}|p8e-[A-Za-z0-9]{32}|API-[A-Z0-9]{26}"),
    # Anybody's
    (("eyJ",), r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?"),  # JSON web tokens
    (("PRIVATE KEY",), r"-----BEGIN[A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]*-----(?:[\s\S]*?-----END[A-Z0-9 ]+-----|[\s\S]*)"),
)  # fmt: skip

# After a name, its value is hidden whatever its form is: (words of which one is in the name, in small letters, form
# with the name as a group).
_NAMES = ("key", "token", "secret", "passw", "passphrase", "signature")
_NAME = (
    r"(?i)(?<![A-Za-z0-9])((?:[\w-]{0,40}[_-])?"
    r"(?:api[_-]?key|access[_-]?key(?:[_-]?id)?|account[_-]?key|secret[_-]?(?:access[_-]?)?key|client[_-]?secret"
    r"|(?:access|auth|refresh|bearer|session|private|vault)[_-]?token|shared[_-]?access[_-]?(?:key|signature)"
    r"|passw(?:or)?d|passphrase)[\"']?"
)
AFTER: Tuple[Tuple[Tuple[str, ...], str], ...] = (
    (
        ("?", "&", "#"),
        r"(?i)([?&#](?:[\w.-]{0,40}(?:token|key|secret|passw(?:or)?d|pwd|signature|credentials?)"
        r"|sig|auth|code|x-amz-[a-z-]+)=)[^&\s'\"]+",
    ),
    (
        ("authorization",),
        r"(?i)\b((?:proxy-)?authorization[\"']?\s?[:=]\s?[\"']?)"
        r"(?:(?:basic|bearer|digest|negotiate|token|apikey)\s+)?[^\s\"',;]+",
    ),
    (("bearer ",), r"(?i)\b(bearer\s+)(?=[^\s\d]{0,200}\d)[A-Za-z0-9+/=._~-]{16,}"),
    (("cookie",), r"(?i)\b((?:set-)?cookie[\"']?\s?:\s?[\"']?)(?=[^\s=]+=)[^\r\n\"']+"),
    (
        ("-token", "-password", "-secret", "-key"),
        r"(?i)((?<![\w-])--(?:[a-z]+-){0,3}(?:password|token|secret|api-key|access-key)(?:=|\s+))[^\s'\"]+",
    ),
    (_NAMES, _NAME + r"\s?=\s?[\"']?)[^\s\"'&,;)]{4,}"),
    # After a colon a sentence may go on: only what holds a digit or a sign is no word of it.
    (_NAMES, _NAME + r"\s{0,3}:\s{0,3}[\"']?)(?=[^\s\"'&,;)\d+_=]{0,200}[\d+_=])[^\s\"'&,;)]{8,}"),
)
