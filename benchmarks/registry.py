"""The groups, by name, in the order of RESULTS.md."""

from benchmarks.groups import jacobian, memory, opaque, preparation, solve, sparse, speed
from benchmarks.report import Group

GROUPS: dict[str, Group] = {
    module.GROUP.name: module.GROUP for module in (speed, preparation, opaque, sparse, jacobian, solve, memory)
}
