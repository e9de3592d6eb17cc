"""The tape: nodes, the plan that says what each keeps, and the chain rule in reverse.

Design
------
A result that needs a gradient points at a ``Node``; a node points at the nodes of its inputs, never
at a tensor that came out of it, so the graph has no reference cycles and is freed by reference
counting.  A leaf points at a ``Leaf``, where its gradient gathers.

``Plan`` is compiled once per (op, which inputs need a gradient): it knows what the rules read, so
that exactly this is kept, and calls them as straight-line code.

Nodes carry a falling serial number.  Inputs are always older than results, so a heap on that number
visits every node after all of its consumers without a first pass over the graph and without
recursion.
"""

from gpugrad.tape.engine import Engine as Engine
from gpugrad.tape.engine import fit as fit
from gpugrad.tape.engine import reachable as reachable
from gpugrad.tape.engine import start_gradient as start_gradient
from gpugrad.tape.nodes import Handle as Handle
from gpugrad.tape.nodes import Leaf as Leaf
from gpugrad.tape.nodes import Node as Node
from gpugrad.tape.nodes import add_tensor_hook as add_tensor_hook
from gpugrad.tape.plan import Constant as Constant
from gpugrad.tape.plan import Packed as Packed
from gpugrad.tape.plan import PackedSaved as PackedSaved
from gpugrad.tape.plan import Plan as Plan
from gpugrad.tape.plan import plan_for as plan_for
