"""From a question to the cheapest way of answering it, and what EXPLAIN says about that."""
