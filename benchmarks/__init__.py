"""nablax against its peers and against forms by hand, group by group. Run `python -m benchmarks`."""

import benchmarks.pinning  # noqa: F401  (before jax)
