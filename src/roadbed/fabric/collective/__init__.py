"""Collectives over a fabric: what each rank sends to whom, how long it takes, and which algorithm is best.

`base` has the nouns, one file per algorithm says who sends what, `run` prices it on a network, `chooser` picks.
"""
