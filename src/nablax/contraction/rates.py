"""What a machine does in a second: the unit in which every decision compares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """Rates of one kind of device, in single precision.

    Args:
        product_flops: operations per second of a large matrix product (a multiply and an add count two).
        batched_flops: the same for many small matrix products.
        vector_flops: operations per second of a product in which one operand has no label of its own.
        element_flops: elementwise operations per second.
        opaque_flops: operations per second of everything else.
        memory_bytes: bytes moved per second to and from memory.
        cache_bytes: bytes moved per second between operations whose arrays stay in the cache.
        cache_size: largest array that stays there (bytes).
        launch_seconds: what each stored array costs beside its work.
        batch_seconds: what each matrix product of a batch costs beside its work.
        compile_seconds: what each node of a graph costs once, to lower and to compile.
    """

    product_flops: float
    batched_flops: float
    vector_flops: float
    element_flops: float
    opaque_flops: float
    memory_bytes: float
    cache_bytes: float
    cache_size: float
    launch_seconds: float
    batch_seconds: float
    compile_seconds: float
