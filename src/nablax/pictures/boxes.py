"""A graph of boxes as a picture in layers: texts in the boxes, labels beside the edges, two colours with a meaning."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from nablax.pictures.layers import Placed, layered
from nablax.pictures.svg import BLUE, GREEN, ORANGE, Picture, Point, along, arrow, box, length, written

SIZE, SMALL = 13.0, 11.0
LINE = 17.0
PAD = 10.0
MARGIN = 12.0
# Between layers: room for an edge's label of two lines.
BETWEEN = 54.0
FAINT = ' opacity="0.75"'


@dataclass(frozen=True)
class Drawn:
    """A box of the picture.

    Args:
        lines: texts, the first the largest.
        opens: whether it is marked: orange.
        given: whether it is an argument.
        result: whether it is the result.
        inner: what is drawn inside, below the texts.
    """

    lines: tuple[str, ...]
    opens: bool = False
    given: bool = False
    result: bool = False
    inner: Picture | None = None

    @property
    def size(self) -> Point:
        """Width and height in pixels."""
        widths = [length(line, SIZE if k == 0 else SMALL) for k, line in enumerate(self.lines)]
        wide, high = max(widths, default=0.0) + 2 * PAD, LINE * len(self.lines) + 10
        if self.inner is None:
            return wide, high
        return max(wide, self.inner.width + PAD), high + self.inner.height


@dataclass(frozen=True)
class Joined:
    """An edge of the picture.

    Args:
        label: in at most two lines.
        leg: whether it is marked: blue.
    """

    label: tuple[str, ...] = ()
    leg: bool = False


Key = int
Place = tuple[float, float, float, float]


def draw(
    boxes: Mapping[Key, Drawn],
    edges: Mapping[tuple[Key, Key], Joined],
    title: str,
    described: str,
    meaning: tuple[str, str] | None,
) -> Picture:
    """The picture of boxes in layers.

    Args:
        boxes: by key.
        edges: by pair of keys, from what is read to what reads.
        title: above; may be empty.
        described: what the picture shows, in words.
        meaning: of marked boxes and of marked edges; None for a picture that stands in another, which tells it.

    Returns:
        The picture.
    """
    placed = layered({key: one.size for key, one in boxes.items()}, list(edges), BETWEEN)
    heading = _wrapped(title, max(placed.width, 320.0), SIZE)
    top = MARGIN + (len(heading) * LINE + 8 if heading else 0)
    legend = [] if meaning is None else _legend(boxes.values(), edges.values(), meaning)
    wide = max(
        placed.width,
        *(length(line, SIZE) for line in heading),
        *(length(text, SMALL) + 24 for _, text in legend),
        120.0,
    )
    left = MARGIN + (wide - placed.width) / 2
    labels, over = _labels(boxes, edges, placed)
    shift = max(0.0, -min((place[0] for place in over), default=0.0) - left + 4)
    left += shift
    right = max([left + placed.width, *(place[2] + left + 4 for place in over), shift + wide + MARGIN]) + MARGIN
    body = [written(line, (MARGIN, MARGIN + LINE * k + 10), SIZE, anchor="start") for k, line in enumerate(heading)]
    inner = [_edge(placed.routes[edge], one) for edge, one in edges.items()]
    inner += labels
    inner += [_box(placed.centres[key], one) for key, one in boxes.items()]
    body.append(f'<g transform="translate({left:.1f} {top:.1f})">{"".join(inner)}</g>')
    bottom = top + placed.height + 22
    for k, (sign, text) in enumerate(legend):
        y = bottom + 16 * k
        body.append(sign((MARGIN + 8, y - 4)))
        body.append(written(text, (MARGIN + 22, y), SMALL, anchor="start", more=FAINT))
    high = bottom + 16 * len(legend) - (4 if legend else 12)
    return Picture(right, high, "".join(body), described)


def _wrapped(text: str, wide: float, size: float) -> list[str]:
    """Lines of a text that fit a width; broken at blanks."""
    lines: list[str] = []
    for word in text.split():
        if lines and length(f"{lines[-1]} {word}", size) <= wide:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _legend(
    boxes: Iterable[Drawn], edges: Iterable[Joined], meaning: tuple[str, str]
) -> list[tuple[Callable[[Point], str], str]]:
    boxes = list(boxes)
    inside = "".join(one.inner.body for one in boxes if one.inner is not None)
    opens = any(one.opens for one in boxes) or ORANGE in inside
    leg = any(one.leg for one in edges) or BLUE in inside
    listed: list[tuple[Callable[[Point], str], str]] = []
    if opens:
        listed.append((lambda at: box(at, (12, 12), stroke=ORANGE, fill=ORANGE, more=_tint()), meaning[0]))
    if leg:

        def line(at: Point) -> str:
            x, y = at
            return f'<path d="M{x - 7:.1f} {y:.1f} h14" stroke="{BLUE}" stroke-width="2.2"/>'

        listed.append((line, meaning[1]))
    return listed


def _tint() -> str:
    return ' fill-opacity="0.18" stroke-width="1.6"'


def _box(centre: Point, one: Drawn) -> str:
    x, y = centre
    high = one.size[1]
    if one.opens:
        shape = box(centre, one.size, stroke=ORANGE, fill=ORANGE, more=_tint())
    elif one.given:
        shape = box(centre, one.size, stroke=GREEN, fill=GREEN, more=' fill-opacity="0.12" stroke-width="1.4"')
    else:
        shape = box(centre, one.size, fill="currentColor", more=' fill-opacity="0.04" stroke-width="1.2"')
    if one.result:
        wide, tall = one.size
        shape += box(centre, (wide + 6, tall + 6), more=' stroke-width="1"')
    texts = []
    for k, line in enumerate(one.lines):
        base = y - high / 2 + 5 + LINE * k + 12.5
        texts.append(written(line, (x, base), SIZE if k == 0 else SMALL, more="" if k == 0 else ' opacity="0.85"'))
    if one.inner is not None:
        left, top = x - one.inner.width / 2, y + high / 2 - 5 - one.inner.height
        texts.append(f'<g transform="translate({left:.1f} {top:.1f})">{one.inner.body}</g>')
    return shape + "".join(texts)


def _edge(route: Sequence[Point], one: Joined) -> str:
    if one.leg:
        return arrow(route, BLUE, wide=2.0)
    return arrow(route, "currentColor", more=' opacity="0.5"')


# -- labels ------------------------------------------------------------------------------------------------


def _labels(
    boxes: Mapping[Key, Drawn], edges: Mapping[tuple[Key, Key], Joined], placed: Placed
) -> tuple[list[str], list[Place]]:
    """Labels beside their edges, where neither a box nor a line nor another label stands."""
    taken: list[Place] = []
    for key, (x, y) in placed.centres.items():
        wide, high = boxes[key].size
        taken.append((x - wide / 2 - 4, y - high / 2 - 4, x + wide / 2 + 4, y + high / 2 + 4))
    lines = {edge: along(route) for edge, route in placed.routes.items()}
    drawn: list[str] = []
    over: list[Place] = []
    for edge, one in edges.items():
        if not one.label:
            continue
        wide, high = max(length(line, SMALL) for line in one.label), 13.0 * len(one.label)
        others = [point for other, points in lines.items() if other != edge for point in points]
        place = _free(lines[edge], wide, high, taken, others)
        taken.append(place)
        over.append(place)
        for k, line in enumerate(one.label):
            drawn.append(written(line, (place[0], place[1] + 13.0 * k + 10), SMALL, anchor="start", more=FAINT))
    return drawn, over


def _free(points: Sequence[Point], wide: float, high: float, taken: Sequence[Place], lines: Sequence[Point]) -> Place:
    """A place beside a line with the least in its way; the first near its middle where nothing is."""
    left, right = min(x for x, _ in points) - wide - 30, max(x for x, _ in points) + wide + 30
    upper, lower = points[0][1] - high, points[-1][1] + high
    around = (left, upper, right, lower)
    boxes = [place for place in taken if _overlap(place, around)]
    near = [*points, *(point for point in lines if _inside(point, around))]
    best, least = (0.0, 0.0, wide, high), float("inf")
    middle = len(points) // 2
    for k in sorted(range(2, len(points) - 2), key=lambda k: abs(k - middle)):
        x, y = points[k]
        sides = (x + 6, x - 6 - wide, x + 15, x - 15 - wide, x + 26, x - 26 - wide)
        for a, b in itertools.product(sides, (y, y - 8, y + 8)):
            place = (a, b - high / 2, a + wide, b + high / 2)
            cost = 40.0 * sum(_overlap(place, other) for other in boxes) + 3.0 * sum(_inside(p, place) for p in near)
            if not cost:
                return place
            if cost < least:
                best, least = place, cost
    return best


def _overlap(a: Place, b: Place) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _inside(point: Point, place: Place) -> bool:
    return place[0] - 1 < point[0] < place[2] + 1 and place[1] - 1 < point[1] < place[3] + 1
