"""Repairs: planned first, backed up, applied step by step, and taken back."""
