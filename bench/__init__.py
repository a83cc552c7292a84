"""Figures: `python -m bench` prints min / median / max and the ratio to the tool's own time in the same run."""
