"""Tests of what talks to the kernel."""
