"""Views that teach: graphs, tables and pictures. Readers of graphs, sweeps and plans; no mathematics of their own."""

from nablax.teach.view import GraphView, graph

__all__ = ["GraphView", "graph"]
