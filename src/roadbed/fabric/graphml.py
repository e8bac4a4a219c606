"""GraphML, for yEd, Gephi, networkx and whatever else reads graphs.

Nodes carry kind and coordinates, edges speed and latency. A cable is one undirected edge; a one-way link is directed.
"""

from roadbed.fabric.base import GBIT, NOWHERE, Fabric, Kind, LinkKind

_NODE_KEYS = ("kind", "server", "rail", "segment", "pod", "plane")
_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
  <key id="kind" for="node" attr.name="kind" attr.type="string"/>
  <key id="server" for="node" attr.name="server" attr.type="int"/>
  <key id="rail" for="node" attr.name="rail" attr.type="int"/>
  <key id="segment" for="node" attr.name="segment" attr.type="int"/>
  <key id="pod" for="node" attr.name="pod" attr.type="int"/>
  <key id="plane" for="node" attr.name="plane" attr.type="int"/>
  <key id="link" for="edge" attr.name="link" attr.type="string"/>
  <key id="gbps" for="edge" attr.name="gbps" attr.type="double"/>
  <key id="latency_us" for="edge" attr.name="latency_us" attr.type="double"/>
  <graph edgedefault="undirected">
"""


def write(fabric: Fabric) -> str:
    """The document."""
    names = [fabric.node_name(node) for node in range(fabric.num_nodes)]
    columns = [getattr(fabric, key).tolist() for key in _NODE_KEYS]
    parts = [_HEAD]
    for name, kind, *where in zip(names, *columns, strict=True):
        known = zip(_NODE_KEYS[1:], where, strict=True)
        data = "".join(f'<data key="{key}">{value}</data>' for key, value in known if value != NOWHERE)
        parts.append(f'    <node id="{name}"><data key="kind">{Kind(kind).name.lower()}</data>{data}</node>\n')
    rows = zip(
        fabric.src.tolist(),
        fabric.dst.tolist(),
        fabric.reverse.tolist(),
        fabric.link_kind.tolist(),
        fabric.capacity.tolist(),
        fabric.latency_s.tolist(),
        strict=True,
    )
    for link, (a, b, back, kind, capacity, latency_s) in enumerate(rows):
        if NOWHERE < back < link:
            continue
        directed = ' directed="true"' if back == NOWHERE else ""
        parts.append(
            f'    <edge id="link-{link}" source="{names[a]}" target="{names[b]}"{directed}>'
            f'<data key="link">{LinkKind(kind).name.lower()}</data><data key="gbps">{capacity / GBIT:.12g}</data>'
            f'<data key="latency_us">{latency_s * 1e6:.9g}</data></edge>\n'
        )
    parts.append("  </graph>\n</graphml>\n")
    return "".join(parts)
