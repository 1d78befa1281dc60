"""The groups, by name, in the order of RESULTS.md."""

from benchmarks.groups import code, jacobian, loops, memory, neural, opaque, order, preparation, solve, sparse, speed
from benchmarks.report import Group

GROUPS: dict[str, Group] = {
    module.GROUP.name: module.GROUP
    for module in (speed, preparation, loops, opaque, sparse, jacobian, solve, memory, neural, order, code)
}
