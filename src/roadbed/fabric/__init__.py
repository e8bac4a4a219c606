"""The training network: topologies, paths, flows, collectives and training steps over them. Pure: no I/O, no clock.

Begin with `base.Fabric` (what a network is), `registry.build` (make one) and `collective.run` (use it).
"""
