"""Where objects come from. Every source yields the same changes (changes.py)."""
