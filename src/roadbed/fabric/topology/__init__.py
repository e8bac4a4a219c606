"""Builders of networks, one family a file: counts in, arrays out.

Every switched family is one general Clos (`clos.Shape`) with other counts; a family file says which, and with which
defaults. `custom` is for networks that are no family.
"""
