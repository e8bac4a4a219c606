"""A training step over a fabric: compute, the communication that is not hidden behind it, and what that makes per step.

`model` says what is trained, `parallel` how it is cut, `plan` what the cut sends, `run` how long it takes.
"""
