"""Every physical constant of the model, with its source, in one place. They hold for all experiments alike.

None was fitted to a table we compare with: they are published by the makers of the collective library and of another
simulator. Capacities in a `Fabric` are nominal; efficiencies here turn them into what a collective library reaches.
"""

# links -----------------------------------------------------------------------------------------------------------
NIC_EFFICIENCY = 48.5 / 50
"""Goodput of a 400 Gb/s RoCE card: 48.5 of 50 GB/s. SimAI, calbusbw.cc (CX7, BlueField-3)."""
SCALE_UP_EFFICIENCY = 20.6 / 25
"""A copy over NVLink 4: 20.6 of 25 GB/s per link and direction. SimAI, calbusbw.cc (SM90)."""
RING_EFFICIENCY = 0.88
"""What a ring's copy loop reaches of that for large messages. SimAI, nvlink_ratio.csv, 8 GB and more."""
NVLS_EFFICIENCY = 0.68
"""Of the raw link for reductions in the scale-up switch. SimAI, calbusbw.cc: busbw 475 GB/s (H100) and 215 GB/s (H800)
on 8 GPUs; each GPU moves 1 + 1/8 of the data per direction, so 475/1.75 × 1.125 / 450 = 0.68 and
215/1.75 × 1.125 / 200 = 0.69."""
PCIE_GEN5_X16_BYTES_S = 64e9
"""Raw, per direction: never the limit beside one 400 Gb/s card."""

# latencies of wires and switches ---------------------------------------------------------------------------------
SCALE_UP_LATENCY_S = 25e-9
NIC_LATENCY_S = 500e-9
"""Per link. SimAI, gen_Topo_Template.py: 0.000025 ms in the scale-up domain, 0.0005 ms in the network."""

# latencies of software: one step of protocol Simple --------------------------------------------------------------
RING_SCALE_UP_STEP_S = 3.4e-6
TREE_SCALE_UP_STEP_S = 4.0e-6
NVLS_STEP_S = 25e-6
RING_NET_STEP_S = 14e-6
TREE_NET_STEP_S = 14e-6
"""NCCL 2.18, graph/tuning.cc, hwLat: NVLink tree 4.0, ring 3.4, NVLS 25; network tree 14, ring 14 (µs)."""
BASE_S = 8.4e-6
"""Launch of one operation. NCCL 2.18, graph/tuning.cc, baseLat, Simple."""
STEP_HOPS = 2
"""Network links that the step latencies above contain (two cards on one switch); longer paths add their own."""
NUM_P2P_PEERS = 8
"""Peers a rank talks to at once in all-to-all. NCCL: channels for point-to-point on an 8-card server."""

# connections -----------------------------------------------------------------------------------------------------
CHANNELS_PER_NIC = 2
"""NCCL doubles the channels its search found (one per card): two rings, or the two trees, each with half the data."""

# congestion and failures --------------------------------------------------------------------------------------------
CONGESTION_REACTION_S = 6e-6
"""How long senders overrun a full port: one round trip of a path of six links at NIC_LATENCY_S, before which no ECN
mark can be back. A lower bound: DCQCN takes several such rounds. Queue estimates are proportional to it."""
CONVERGENCE_S = 0.5
"""From a broken link to traffic on another way. Estimate: 100 ms of the bond's link monitor (Linux miimon=100), then
withdrawal of the /32 by BGP through two tiers and the tables of their switches at some 100 ms each."""
RDMA_GIVES_UP_S = 7 * 4.096e-6 * 2**20
"""A queue pair without acknowledgement fails after 7 retries of 4.096 µs × 2^timeout (InfiniBand specification
9.7.6.1.3); NCCL's defaults are NCCL_IB_TIMEOUT=20, NCCL_IB_RETRY_CNT=7: 30 s. After that the job is gone."""
