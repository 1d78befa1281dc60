"""Endings: what turns a block of terms into the arrays that the user gets. Sweeps know none of them."""
