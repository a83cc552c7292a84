"""Tests of the pure planning code."""
