"""Figures of the documentation: computed while a page is built, inline, in the colours of the page."""

import io
import re

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

plt.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "nablax",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.figsize": (7.0, 3.6),
        "figure.constrained_layout.use": True,
        "legend.frameon": False,
    }
)


def shown(figure, described):
    """The SVG of a figure for a page: text and axes in the colour of the page's text, no background.

    Args:
        figure: of matplotlib; it is closed.
        described: what it shows, in words.
    """
    held = io.StringIO()
    figure.savefig(held, format="svg", transparent=True, metadata={"Date": None})
    plt.close(figure)
    svg = held.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(width|height)="[0-9.]+pt" ?', "", svg, count=2)
    svg = svg.replace("#000000", "currentColor")
    # text without a colour of its own takes the page's
    opening = f'<svg role="img" aria-label="{described}" style="max-width: 44rem; width: 100%" fill="currentColor" '
    return "\n".join(line for line in svg.replace("<svg ", opening, 1).splitlines() if line.strip())
