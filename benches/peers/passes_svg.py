"""Draws what pass_cost measured: milliseconds a pass over tokens a pass, with the bound of memory.

    for dtype in gguf int8 bf16; do pass_cost --tokens 1,2,4,8,16 --dtype $dtype --json; done > passes.jsonl
    python benches/peers/passes_svg.py passes.jsonl > docs/src/passes.svg

A line of the input is one run of pass_cost; `llama.cpp 1:10.2 2:15.6` is a line of another program.
"""

import json
import math
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 440, 70, 150, 50, 50
COLOURS = ["#0b62c4", "#b5430e", "#2f7d32", "#7b3fa0", "#8a6d00", "#7a7f85"]


def read(path):
    series = []
    for line in open(path, encoding="utf-8"):
        line = line.strip()
        if line.startswith("{"):
            run = json.loads(line)
            name = run["dtype"] if run["threads"] == 2 else f"{run['dtype']}, {run['threads']} thread"
            series.append((name, [(p["tokens"], p["ms"]) for p in run["passes"]], run["bound_ms"]))
        elif line:
            name, *points = line.split()
            pairs = [point.split(":") for point in points]
            series.append((name, [(int(t), float(ms)) for t, ms in pairs], None))
    return series


def draw(series):
    tokens = sorted({t for _, points, _ in series for t, _ in points})
    times = [ms for _, points, bound in series for _, ms in points] + [b for *_, b in series if b]
    low, high = min(times) * 0.85, max(times) * 1.15
    x = lambda t: LEFT + (WIDTH - LEFT - RIGHT) * math.log(t / tokens[0]) / math.log(tokens[-1] / tokens[0])
    y = lambda ms: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(ms / low) / math.log(high / low)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="12">',
        "<title>Milliseconds a pass over tokens a pass</title>",
        "<style>svg{--paper:#fff;--ink:#1f2328;--grid:#d9dee3}"
        "@media(prefers-color-scheme:dark){svg{--paper:#15181c;--ink:#e8ebee;--grid:#333a42}}"
        "text{fill:var(--ink)}.grid{stroke:var(--grid)}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="var(--paper)"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="600">Milliseconds a pass; dashed: weights over bandwidth</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 12}" text-anchor="middle">tokens a pass</text>',
    ]
    for t in tokens:
        out.append(f'<line class="grid" x1="{x(t):.1f}" x2="{x(t):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        out.append(f'<text x="{x(t):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{t}</text>')
    for ms in (2, 4, 5, 8, 10, 15, 20, 30, 40, 60, 80):
        if low < ms < high:
            out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(ms):.1f}" y2="{y(ms):.1f}"/>')
            out.append(f'<text x="{LEFT - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms}</text>')
    labels = []
    for index, (name, points, bound) in enumerate(series):
        colour = COLOURS[index % len(COLOURS)]
        path = "L".join(f"{x(t):.1f} {y(ms):.1f}" for t, ms in points)
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x(t):.1f}" cy="{y(ms):.1f}" r="3.5" fill="{colour}"/>' for t, ms in points]
        if bound:
            out.append(
                f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(bound):.1f}" y2="{y(bound):.1f}"'
                f' stroke="{colour}" stroke-dasharray="5 4" opacity="0.7"/>'
            )
        labels.append([y(points[-1][1]), name, colour])
    labels.sort()
    for above, below in zip(labels, labels[1:]):
        below[0] = max(below[0], above[0] + 15)
    for place, name, colour in labels:
        out.append(f'<text x="{WIDTH - RIGHT + 10}" y="{place + 4:.1f}" style="fill:{colour}">{name}</text>')
    return "\n".join(out + ["</svg>"])


if __name__ == "__main__":
    print(draw(read(sys.argv[1])))
