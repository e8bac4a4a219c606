"""Roadbed: the data centre as one AI computer."""

from roadbed import _native

__version__ = "0.1.0"

_native.install()
