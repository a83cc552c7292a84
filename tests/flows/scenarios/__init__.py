"""The rows that need more than one packet. One function per row; each takes a Scene and raises AssertionError."""
