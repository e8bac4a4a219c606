"""Every physical constant of the model, with its source, in one place. They hold for all experiments alike.

Nothing in this file was fitted to a row of a table we compare with, save CHUNK_SYNC_S, which says so. Capacities are
nominal in a Fabric; efficiencies here turn them into what a collective library reaches.
"""

# links -----------------------------------------------------------------------------------------------------------
NIC_EFFICIENCY = 48.5 / 50
"""Goodput of a 400 Gb/s RoCE port pair: 48.5 of 50 GB/s. SimAI calbusbw.cc (CX7, BlueField-3)."""
SCALE_UP_EFFICIENCY = 20.6 / 25
"""A copy over NVLink 3/4: 20.6 of 25 GB/s per link and direction. SimAI calbusbw.cc (SM90)."""
NVLS_EFFICIENCY = 0.68
"""Of the raw link for in-switch reduction. SimAI's busbw of 475 GB/s (H100) and 215 GB/s (H800) on 8 GPUs, each GPU
moving (1 + 1/8) of the data per direction: 475/1.75 × 1.125 / 450 = 0.68; 215/1.75 × 1.125 / 200 = 0.69."""
PCIE_GEN5_X16_BYTES_S = 64e9
"""Raw, per direction. Never the limit beside one 400 Gb/s card."""

# latencies -------------------------------------------------------------------------------------------------------
SCALE_UP_LATENCY_S = 25e-9
NIC_LATENCY_S = 500e-9
"""SimAI gen_Topo_Template.py: 0.000025 ms in the scale-up domain, 0.0005 ms per network link."""
