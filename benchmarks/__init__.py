"""The speed table: nablax against its peers and against closed forms by hand. Run `python -m benchmarks`."""

import benchmarks.pinning  # noqa: F401  (before jax)
