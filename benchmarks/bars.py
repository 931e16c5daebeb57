# SPDX-License-Identifier: Apache-2.0
"""Bars in groups, as SVG."""


def bars(title, groups, most):
    """groups: (heading, [(label, value)], mark); a line at each mark that is not None. Cut off at `most`."""
    scale, high, lines, y = 320 / most, 14, [], 30
    for heading, values, mark in groups:
        lines.append(f'<text x="4" y="{y}" font-weight="bold">{heading}</text>')
        top = y + 4
        for label, value in values:
            y += high
            width = min(value, most) * scale
            lines.append(f'<rect x="150" y="{y - 9}" width="{width:.1f}" height="10" fill="#3b7dd8"/>')
            lines.append(f'<text x="20" y="{y}">{label}</text>')
            lines.append(f'<text x="{155 + width:.1f}" y="{y}">{value:.2f}</text>')
        if mark:
            x = 150 + min(mark, most) * scale
            lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y + 3}" stroke="#b42318"/>')
        y += 2 * high
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="560" height="{y}" font-family="sans-serif" '
        f'font-size="11"><text x="4" y="14">{title}</text>{"".join(lines)}</svg>\n'
    )
