# SPDX-License-Identifier: Apache-2.0
"""What was found and what is certified over time, as SVG: a panel for each search, its values logarithmic."""

import math

WIDE, HIGH, LEFT, TOP, BELOW = 250, 150, 46, 26, 32  # of a panel's axes, and the room around them
ACROSS = 2
FOUND, BOUND = "#b42318", "#3b7dd8"


def both_ends(panels):
    """panels: (title, [(seconds, found, certified)] in the order of time). Of what is 0 the axis has no
    place: it is drawn at the lower end."""
    cells = [_panel(title, points, *_corner(i)) for i, (title, points) in enumerate(panels)]
    width = LEFT + min(len(panels), ACROSS) * (WIDE + LEFT)
    height = _corner(len(panels) - 1)[1] + HIGH + BELOW + 18
    key = (
        f'<rect x="{LEFT}" y="{height - 15}" width="14" height="3" fill="{BOUND}"/>'
        f'<text x="{LEFT + 20}" y="{height - 10}">certified at most</text>'
        f'<rect x="{LEFT + 130}" y="{height - 15}" width="14" height="3" fill="{FOUND}"/>'
        f'<text x="{LEFT + 150}" y="{height - 10}">found at least; processor seconds</text>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="11"><rect width="{width}" height="{height}" fill="white"/>{"".join(cells)}{key}</svg>\n'
    )


def _corner(i):
    """Of a panel's axes, the upper left one."""
    return LEFT + i % ACROSS * (WIDE + LEFT), TOP + i // ACROSS * (HIGH + TOP + BELOW)


def _panel(title, points, left, top):
    end, values = points[-1][0], [v for _, *ends in points for v in ends if v > 0] or [1]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)

    def x(seconds):
        return left + WIDE * seconds / end

    def y(value):
        return top + HIGH * (high - math.log10(max(value, 10.0**low))) / (high - low)

    lines = [f'<text x="{left}" y="{top - 8}" font-weight="bold">{title}</text>']
    for power in range(low, high + 1, (high - low + 3) // 4):
        at = y(10.0**power)
        lines.append(f'<path d="M{left} {at:.1f}h{WIDE}" stroke="#ddd"/>')
        lines.append(f'<text x="{left - 5}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
    step = _step(end)
    for seconds in (step * k for k in range(int(end / step) + 1)):
        at = x(seconds)
        lines.append(f'<path d="M{at:.1f} {top}v{HIGH}" stroke="#ddd"/>')
        lines.append(f'<text x="{at:.1f}" y="{top + HIGH + 13}" text-anchor="middle">{seconds:g}</text>')
    for which, colour in ((2, BOUND), (1, FOUND)):
        path = f"M{x(points[0][0]):.1f} {y(points[0][which]):.1f}"
        for point in points[1:]:  # an end holds until it is improved
            path += f"H{x(point[0]):.1f}V{y(point[which]):.1f}"
        lines.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    lines.append(f'<path d="M{left} {top}v{HIGH}h{WIDE}" fill="none" stroke="#444"/>')
    return "".join(lines)


def _step(end):
    """Between numbers on the axis of time, at most six of them: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(end))
    return next(step for step in (power / 5, power / 2, power, 2 * power) if end <= 6 * step)
