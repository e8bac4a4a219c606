"""A modelled data centre around the real decision code: traces in, tables and pictures out (docs/design/twin.md)."""
