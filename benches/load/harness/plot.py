"""Plots, as SVG that follows the reader's light or dark mode. Written by hand: no library is needed for lines."""

import math
from html import escape

# Chosen to differ on white and on black, and for readers who see red and green alike.
COLOURS = {
    "corelane": "#d9480f",
    "before": "#f59f00",
    "nginx": "#2b8a3e",
    "haproxy": "#1c7ed6",
    "haproxy-splice": "#66a8e0",
    "relay-epoll": "#868e96",
    "relay-uring": "#adb5bd",
    "relay-splice": "#c0c6cc",
    "pingora": "#9c36b5",
    "envoy": "#e64980",
    "round_robin": "#868e96",
    "weighted": "#f59f00",
    "random": "#c0c6cc",
    "least_connections": "#1c7ed6",
    "p2c": "#2b8a3e",
    "ewma": "#d9480f",
    "least_bandwidth": "#9c36b5",
    "hash": "#e64980",
}
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #343a40; }
  .title { font-size: 16px; font-weight: 600; }
  .soft { fill: #6c757d; font-size: 12px; }
  .line { stroke: #ced4da; stroke-width: 1; }
  .back { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e9ecef; } .soft { fill: #adb5bd; } .line { stroke: #495057; } .back { fill: #16181b; }
  }
"""


def document(width, height, parts):
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect class="back" width="{width}" height="{height}" rx="6"/>\n{body}\n</svg>\n'
    )


def text(x, y, words, kind="", anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(str(words))}</text>'


def bars(title, groups):
    """`groups`: (name, [(label, family, value)]); each group has a scale of its own."""
    row, gap, left, width, column = 19, 34, 118, 178, 376
    columns = 2
    heights = [gap + row * len(values) for _, values in groups]
    tops, at = [], [52] * columns
    for height in heights:
        which = at.index(min(at))
        tops.append((which, at[which]))
        at[which] += height + 12
    parts = [text(20, 30, title, "title")]
    for (name, values), (which, top) in zip(groups, tops):
        x = 20 + which * column
        parts.append(text(x, top + 18, name))
        most = max(value for _, _, value in values)
        for index, (label, family, value) in enumerate(values):
            y = top + gap + row * index
            length = max(1.0, value / most * width)
            colour = COLOURS.get(family, "#868e96")
            parts.append(text(x + left - 8, y + 8, label, "soft", "end"))
            parts.append(
                f'<rect x="{x + left}" y="{y - 3:.1f}" width="{length:.1f}" height="13" rx="2" fill="{colour}"/>'
            )
            shown = f"{value:.1f}" if value < 1000 else f"{value:.0f}"
            parts.append(text(x + left + length + 6, y + 8, shown, "soft"))
    return document(20 + columns * column, max(at) + 8, parts)


def ticks(most):
    """Round numbers from 0 on, at most eight."""
    power = 10.0 ** math.floor(math.log10(most))
    step = next(step for step in (power / 10, power / 5, power / 2, power, 2 * power) if most / step < 8)
    return [step * index for index in range(int(most / step) + 1)]


def lines(title, x_name, y_name, series, x_label=lambda value: f"{value / 1000:.0f} k"):
    """`series`: (label, family, [(x, y)]); the upward axis is logarithmic."""
    width, height, left, right, top, bottom = 772, 420, 70, 144, 56, 52
    points = [point for _, _, values in series for point in values]
    x_most = max(x for x, _ in points) * 1.04
    low = math.floor(math.log10(min(y for _, y in points)))
    high = math.ceil(math.log10(max(y for _, y in points)) + 1e-9)
    high = max(high, low + 1)

    def place(x, y):
        across = left + x / x_most * (width - left - right)
        up = height - bottom - (math.log10(y) - low) / (high - low) * (height - top - bottom)
        return across, up

    parts = [text(20, 30, title, "title"), text(left, top - 8, y_name, "soft")]
    for power in range(low, high + 1):
        for step in (1, 2, 5):
            value = step * 10.0**power
            if value > 10**high:
                break
            _, y = place(0, value)
            parts.append(f'<line class="line" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(text(left - 8, y + 4, f"{value:g}", "soft", "end"))
    for value in ticks(x_most):
        x, y = place(value, 10.0**low)
        parts.append(text(x, y + 20, x_label(value), "soft", "middle"))
    parts.append(text((left + width - right) / 2, height - 10, x_name, "soft", "middle"))
    labels = []
    for label, family, values in series:
        colour = COLOURS.get(family, "#868e96")
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*value) for value in values))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in (place(*value) for value in values)
        ]
        labels.append((place(*values[-1])[1], label, colour))
    # Labels at the ends of their lines, apart from each other.
    below = -math.inf
    for y, label, colour in sorted(labels):
        below = max(y, below + 16)
        parts.append(f'<rect x="{width - right + 8}" y="{below - 5:.1f}" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(text(width - right + 24, below + 4, label, "soft"))
    return document(width, height, parts)
