"""Trees as few arrays: what goes in comes out, small ones share a vector."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from nablax.optimise.packing import MOST_PACKED, Packing


def test_what_is_packed_comes_out_again() -> None:
    tree = {
        "a": jnp.array([[1.5, -jnp.inf], [jnp.nan, 0.0]]),
        "b": (jnp.asarray(True), jnp.asarray(7, jnp.int32), jnp.zeros((0,))),
        "c": jnp.asarray(2.5, jnp.float32),
        "d": jnp.arange(MOST_PACKED + 1.0),
    }
    packing = Packing(jax.eval_shape(lambda: tree))
    arrays = packing.packed(tree)
    # float64, integers with truth values, float32; and the large one by itself
    assert [(one.dtype.name, one.size) for one in arrays] == [
        ("float64", 4), ("int64", 2), ("float32", 1), ("float64", MOST_PACKED + 1)
    ]  # fmt: skip
    found = packing.unpacked(arrays)
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_array_equal(one, other)


def test_no_vector_is_long() -> None:
    tree = [jnp.full(30, float(k)) for k in range(5)]
    packing = Packing(tree)
    assert [one.size for one in packing.packed(tree)] == [60, 60, 30]
    for one, other in zip(packing.unpacked(packing.packed(tree)), tree, strict=True):
        np.testing.assert_array_equal(one, other)
