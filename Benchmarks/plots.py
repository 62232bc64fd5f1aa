"""Plots as SVG, without a library: bars in groups, and latency by percentile."""

import html
import math

#: A peer has the same color in all plots.
COLORS = {
    "direct": "#7f7f7f", "pgbouncer": "#1f77b4", "haproxy": "#9467bd", "stunnel": "#8c564b", "floor": "#2ca02c",
    "lean": "#98df8a", "epoll": "#ff7f0e", "uring": "#d62728"}
OTHER_COLOR = "#17becf"
WIDTH, LEFT, TOP, PLOT_HEIGHT = 860, 70, 56, 260


def text(x, y, words, anchor="middle", size=12, more=""):
    return (f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' font-family='sans-serif' font-size='{size}' {more}>"
            f"{html.escape(words)}</text>")


def frame(title, unit, height, body):
    return "\n".join([
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' viewBox='0 0 {WIDTH} {height}'>",
        f"<rect width='{WIDTH}' height='{height}' fill='white'/>", text(LEFT, 22, title, "start", 15, "font-weight='bold'"),
        text(LEFT, 42, unit, "start"), *body, "</svg>", ""])


def color(peer):
    return COLORS.get(peer, OTHER_COLOR)


def legend(peers, top):
    """Three a line; gives its parts and where it ends."""
    column = (WIDTH - LEFT) / 3
    parts = []
    for index, (key, name) in enumerate(peers.items()):
        x, y = LEFT + index % 3 * column, top + index // 3 * 18
        parts.append(f"<rect x='{x:.1f}' y='{y - 10}' width='12' height='12' fill='{color(key)}'/>")
        parts.append(text(x + 18, y, name, "start"))
    return parts, top + (len(peers) + 2) // 3 * 18


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
                f"fill='{color(key)}'/>")
            parts.append(text(x + bar * 0.45, y - 3, label(value), size=9))
        parts.append(text(LEFT + (place + 0.5) * width, TOP + PLOT_HEIGHT + 18, name))
    keys, end = legend(peers, TOP + PLOT_HEIGHT + 44)
    return frame(title, unit, end + 6, parts + keys)


def fastest(histogram):
    """What one in twenty does not exceed."""
    seen, total = 0, sum(histogram.values())
    for value in sorted(map(int, histogram)):
        seen += histogram[str(value)]
        if seen >= total / 20:
            return max(1, value)


def percentiles(title, unit, histograms, peers):
    """`histograms`: by peer, counts by value. The horizontal axis shows ever rarer latencies, as HdrHistogram's plots do."""
    nines = [0.0, 0.9, 0.99, 0.999, 0.9999]
    largest = max(int(value) for key in peers for value in histograms[key])
    # The fastest few would take half of the height.
    low, high = math.log10(min(map(fastest, (histograms[key] for key in peers)))), math.log10(largest) + 0.02

    def y_of(value):
        return TOP + PLOT_HEIGHT - (math.log10(max(1, value)) - low) / (high - low) * PLOT_HEIGHT

    def x_of(part):
        return LEFT + min(4.0, -math.log10(1 - part)) / 4 * (WIDTH - LEFT - 30)

    parts = []
    for part in nines:
        x = x_of(part)
        parts.append(f"<line x1='{x:.1f}' x2='{x:.1f}' y1='{TOP}' y2='{TOP + PLOT_HEIGHT}' stroke='#dddddd'/>")
        parts.append(text(x, TOP + PLOT_HEIGHT + 18, f"{part * 100:.4g} %", "end" if part == nines[-1] else "middle"))
    for power in range(math.floor(low), math.ceil(high)):
        for factor in (1, 2, 5):
            value = factor * 10 ** power
            if not low <= math.log10(value) <= high:
                continue
            y = y_of(value)
            parts.append(f"<line x1='{LEFT}' x2='{WIDTH - 10}' y1='{y:.1f}' y2='{y:.1f}' stroke='#eeeeee'/>")
            parts.append(text(LEFT - 6, y + 4, label(value), "end"))
    for key in peers:
        counts = sorted((int(value), number) for value, number in histograms[key].items())
        total, seen, points = sum(number for _, number in counts), 0, []
        for value, number in counts:
            seen += number
            # The last one stands at the edge, whatever it is rarer than.
            if value >= 10 ** low:
                points.append(f"{x_of(min(seen / total, 0.9999)):.1f},{y_of(value):.1f}")
        parts.append(f"<polyline points='{' '.join(points)}' fill='none' stroke='{color(key)}' stroke-width='1.6'/>")
    keys, end = legend(peers, TOP + PLOT_HEIGHT + 44)
    return frame(title, unit, end + 6, parts + keys)
