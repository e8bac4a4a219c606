"""Loops that take the next step from what is to what should be; `decide` is pure, the rest carries it out."""
