"""Connected parts of a graph, as arrays.

Labels sink to the lowest node of their part: every round each edge pulls both its ends down to the lower label and all
nodes jump to the label of their label. Networks are shallow, so a handful of rounds suffices; a chain of n takes log n.
"""

import numpy as np
import numpy.typing as npt

from roadbed.fabric.base import Ints


def components(num_nodes: int, a: npt.ArrayLike, b: npt.ArrayLike) -> Ints:
    """[num_nodes] The lowest node of the part each node is in; edges are a[i] – b[i], direction aside."""
    left, right = np.asarray(a, np.int32), np.asarray(b, np.int32)
    label = np.arange(num_nodes, dtype=np.int32)
    while len(left):
        low = np.minimum(label[left], label[right])
        np.minimum.at(label, label[left], low)
        np.minimum.at(label, label[right], low)
        while (jumped := label[label]).tobytes() != label.tobytes():
            label = jumped
        apart = label[left] != label[right]
        left, right = left[apart], right[apart]
    return label


def numbered(labels: Ints) -> Ints:
    """The same parts, numbered 0, 1, … in order of their label."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int32)
