"""Audits of prepared data: what is in two splits, and utterances that are unlike the others."""
