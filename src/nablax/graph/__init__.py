"""The computation as nodes: made once, read from a traced program, fused, evaluated."""
