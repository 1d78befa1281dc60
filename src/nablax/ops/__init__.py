"""What a node can be, row by row: scalar functions, matrix functions, and the reader of traced programs."""
