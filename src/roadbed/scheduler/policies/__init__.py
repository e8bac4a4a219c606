"""Placement policies behind one interface: ours and the baselines it is measured against."""
