"""lab.py: what the programs of bench/ share: the load generator, tables of numbers, plots."""

import json
import os
import statistics
import subprocess
import sys

from support import servers

OWN_LOAD = os.path.join(os.path.dirname(os.path.dirname(servers.shoal_binary())), "bench", "load")


def take_precedence():
    """The machine's other processes seldom take the turn of this one and its children, where we may say so (root, and autogroups of the kernel's
    scheduler). Between a server's threads, and what they start, nothing changes."""
    try:
        if os.getsid(0) != os.getpid():
            os.setsid()
        with open("/proc/self/autogroup", "w", encoding="ascii") as f:
            f.write("-15")
    except OSError:
        pass


def load_command(server, cpus, *arguments):
    return ["taskset", "-c", cpus, OWN_LOAD, "--json", "-p", str(server.port), *map(str, arguments)]


def load(server, cpus, *arguments):
    """A run of bench/load: its line of JSON."""
    run = subprocess.run(load_command(server, cpus, *arguments), capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{' '.join(run.args)}: {run.stdout}{run.stderr}")
    return json.loads(run.stdout)


def cell(values, form):
    """The median, with least and most."""
    return f"{form(statistics.median(values))} ({form(min(values))}–{form(max(values))})"


def write_csv(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.write(",".join(rows[0]) + "\n" + "".join(",".join(map(str, r.values())) + "\n" for r in rows))


class Plot:
    """Lines over time, as SVG. `scale` makes a height of 0 to 1 out of a value."""
    WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 760, 260, 60, 30, 40

    def __init__(self, title, end, scale, top=0):
        self.end, self.scale, self.offset = end, scale, top + self.TOP
        self.parts = [f'<text x="{self.LEFT}" y="{top + 18}">{title}</text>']
        self.legend_x = self.LEFT

    def point(self, seconds, value):
        height = self.HEIGHT - self.TOP - self.BOTTOM
        share = min(max(self.scale(value), 0), 1)
        return self.LEFT + seconds / self.end * (self.WIDTH - self.LEFT - 20), self.offset + (1 - share) * height

    def level(self, value, text, solid=False):
        x, y = self.point(0, value)
        dash = "" if solid else ' stroke-dasharray="2 3"'
        self.parts += [f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{self.WIDTH - 20}" y2="{y:.1f}" stroke="#999" stroke-width="0.6"{dash}/>',
                       f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{text}</text>']

    def seconds(self):
        for i in range(0, int(self.end) + 1, max(int(self.end / 6), 1)):
            self.parts.append(f'<text x="{self.point(i, 0)[0]:.1f}" y="{self.offset - self.TOP + self.HEIGHT - 22}" text-anchor="middle">{i} s</text>')

    def shade(self, first, last):
        x, y = self.point(first, float("inf"))
        self.parts.insert(0, f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(self.point(last, 0)[0] - x, 1):.1f}" '
                             f'height="{self.HEIGHT - self.TOP - self.BOTTOM}" fill="#eee"/>')

    def line(self, points, color, name):
        text = " ".join("{:.1f},{:.1f}".format(*self.point(*p)) for p in points)
        self.parts += [f'<polyline fill="none" stroke="{color}" stroke-width="1.2" points="{text}"/>',
                       f'<text x="{self.legend_x}" y="{self.offset - self.TOP + self.HEIGHT - 5}" fill="{color}">{name}</text>']
        self.legend_x += 8 * len(name) + 20


def write_svg(path, plots):
    height = Plot.HEIGHT * len(plots)
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {Plot.WIDTH} {height}" font-family="sans-serif" font-size="11">',
                           f'<rect width="{Plot.WIDTH}" height="{height}" fill="#fff"/>', *(part for p in plots for part in p.parts), "</svg>"]) + "\n")
