"""How views are written: tables as text, Markdown and HTML, drawings as SVG, graphs in layers."""
