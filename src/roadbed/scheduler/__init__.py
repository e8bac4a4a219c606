"""CORE: one pool for training and inference. Queue, quotas, placement, preemption, loans, and why something waits.

Facts go in as events with a clock value, decisions come out as data; no I/O, no wall clock, no randomness that is not
injected. The control plane and the twin drive the very same objects (docs/design/scheduler.md).
"""
