"""Roadbed: the data centre as one AI computer."""

__version__ = "0.1.0"
