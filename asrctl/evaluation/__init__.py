"""Transcription, decoding and error rates."""
