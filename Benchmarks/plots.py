"""Plots as SVG, without a library: bars in groups, and latency by percentile."""

import html
import math

COLORS = ["#7f7f7f", "#1f77b4", "#9467bd", "#8c564b", "#2ca02c", "#d62728", "#ff7f0e", "#17becf"]
WIDTH, LEFT, TOP, PLOT_HEIGHT = 860, 70, 56, 260


def text(x, y, words, anchor="middle", size=12, more=""):
    return (f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-family='sans-serif' font-size='{size}' {more}>"
            f"{html.escape(words)}</text>")


def frame(title, unit, height, body):
    return "\n".join([
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' viewBox='0 0 {WIDTH} {height}'>",
        f"<rect width='{WIDTH}' height='{height}' fill='white'/>", text(LEFT, 22, title, "start", 15, "font-weight='bold'"),
        text(LEFT, 42, unit, "start"), *body, "</svg>", ""])


def legend(names, top):
    """Three a line; gives its parts and where it ends."""
    column = (WIDTH - LEFT) / 3
    parts = []
    for index, name in enumerate(names):
        x, y = LEFT + index % 3 * column, top + index // 3 * 18
        parts.append(f"<rect x='{x:.1f}' y='{y - 10}' width='12' height='12' fill='{COLORS[index % len(COLORS)]}'/>")
        parts.append(text(x + 18, y, name, "start"))
    return parts, top + (len(names) + 2) // 3 * 18


def nice_step(largest, marks=5):
    """A round number that divides an axis up to `largest` into about `marks`."""
    rough = largest / marks
    power = 10 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)


def label(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def grid(largest, scale):
    parts, step = [], nice_step(largest)
    for index in range(int(largest / step) + 1):
        y = TOP + PLOT_HEIGHT - scale(index * step)
        parts.append(f"<line x1='{LEFT}' x2='{WIDTH - 10}' y1='{y:.1f}' y2='{y:.1f}' stroke='#dddddd'/>")
        parts.append(text(LEFT - 6, y + 4, label(index * step), "end"))
    return parts


def bars(title, unit, groups, peers):
    """`groups`: a name and, by peer, a value or `None`. `peers`: titles by key, in order."""
    largest = max(value for _, values in groups for value in values.values() if value is not None)

    def scale(value):
        return value / (largest * 1.05) * PLOT_HEIGHT

    parts = grid(largest, scale)
    width = (WIDTH - LEFT - 10) / len(groups)
    bar = width * 0.9 / len(peers)
    for place, (name, values) in enumerate(groups):
        start = LEFT + place * width + width * 0.05
        for index, key in enumerate(peers):
            value = values.get(key)
            if value is None:
                continue
            x, height = start + index * bar, scale(value)
            y = TOP + PLOT_HEIGHT - height
            parts.append(
                f"<rect x='{x:.1f}' y='{y:.1f}' width='{bar * 0.9:.1f}' height='{height:.1f}' "
                f"fill='{COLORS[index % len(COLORS)]}'/>")
            parts.append(text(x + bar * 0.45, y - 3, label(value), size=9))
        parts.append(text(LEFT + (place + 0.5) * width, TOP + PLOT_HEIGHT + 18, name))
    keys, end = legend(list(peers.values()), TOP + PLOT_HEIGHT + 44)
    return frame(title, unit, end + 6, parts + keys)


def percentiles(title, unit, histograms, peers):
    """`histograms`: by peer, counts by value. The horizontal axis shows ever rarer latencies, as HdrHistogram's plots do."""
    nines = [0.0, 0.9, 0.99, 0.999, 0.9999]
    values = [int(value) for histogram in histograms.values() for value in histogram]
    low, high = math.log10(max(1, min(values))), math.log10(max(values)) + 0.02

    def y_of(value):
        return TOP + PLOT_HEIGHT - (math.log10(max(1, value)) - low) / (high - low) * PLOT_HEIGHT

    def x_of(part):
        return LEFT + min(4.0, -math.log10(1 - part)) / 4 * (WIDTH - LEFT - 30)

    parts = []
    for part in nines:
        x = x_of(part)
        parts.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{TOP}' y2='{TOP + PLOT_HEIGHT}' stroke='#dddddd'/>")
        parts.append(text(x, TOP + PLOT_HEIGHT + 18, f"{part * 100:.4g} %"))
    for power in range(math.floor(low), math.ceil(high)):
        for factor in (1, 2, 5):
            value = factor * 10 ** power
            if not low <= math.log10(value) <= high:
                continue
            y = y_of(value)
            parts.append(f"<line x1='{LEFT}' x2='{WIDTH - 10}' y1='{y:.1f}' y2='{y:.1f}' stroke='#eeeeee'/>")
            parts.append(text(LEFT - 6, y + 4, label(value), "end"))
    for index, key in enumerate(peers):
        if key not in histograms:
            continue
        counts = sorted((int(value), number) for value, number in histograms[key].items())
        total, seen, points = sum(number for _, number in counts), 0, []
        for value, number in counts:
            seen += number
            # The last one stands at the edge, whatever it is rarer than.
            points.append(f"{x_of(min(seen / total, 0.9999)):.1f},{y_of(value):.1f}")
        parts.append(
            f"<polyline points='{' '.join(points)}' fill='none' stroke='{COLORS[index % len(COLORS)]}' stroke-width='1.6'/>")
    keys, end = legend(list(peers.values()), TOP + PLOT_HEIGHT + 44)
    return frame(title, unit, end + 6, parts + keys)
