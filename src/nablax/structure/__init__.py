"""The structure of a Hessian: told to the user, kept in linear operators, used to solve, without forming the matrix."""
