"""What becomes of measured figures: tables for the terminal and for README, widths that fall behind their neighbours, pictures.

Everything here is a function of the data that the scripts write as JSON, so that a table can be made again without measuring.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastnn.benchmark import time_text
from fastnn.text import aligned

START, TRAINING_START, END = "<!-- bench table -->", "<!-- training table -->", "<!-- end -->"
STARTS = (START, TRAINING_START)
HOLE = 0.7


def header(machine: dict[str, Any]) -> list[str]:
    """The machine, the versions and the peaks as lines of text."""
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    peaks = ", ".join(f"{rate:.1f} GFLOP/s of {dtype}" for dtype, rate in machine["gflops_per_thread"].items())
    return [
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, {machine['system']}, instruction set {machine['isa']}, "
        f"load {machine['load']} before",
        f"Python {machine['python']}, {versions}",
        f"measured in this run: {peaks} multiply-adds per thread, {machine['stream_gbytes']:.1f} GB/s of stream triad on "
        f"{machine['threads']} threads; {together(machine)}",
    ]


def together(machine: dict[str, Any]) -> str:
    """Whether the threads had a core each."""
    least, median, most = machine["together"]
    return f"{machine['threads']} threads at once did {least:.2f} to {most:.2f} times the multiply-adds of one, {median:.2f} in the median"


def share(row: dict[str, Any], name: str = "fastnn") -> float | None:
    """The part of its peak that a competitor reached in a row, or None where the row has no peak."""
    return row["amount"] / row["results"][name]["seconds"] / row["peak"] if row["peak"] else None


def best_rival(row: dict[str, Any]) -> tuple[str, float] | None:
    """The fastest other competitor and how many times fastnn's time it takes."""
    rivals = [(result["seconds"], name) for name, result in row["results"].items() if name != "fastnn"]
    if not rivals:
        return None
    seconds, name = min(rivals)
    return name, seconds / row["results"]["fastnn"]["seconds"]


def target_text(row: dict[str, Any]) -> str:
    """What a row is to reach, as its column says it."""
    target = row["target"]
    if "seconds" in target:
        return time_text(target["seconds"]) + (f", aim {time_text(target['aim'])}" if "aim" in target else "")
    if "share" in target:
        return f"{100 * target['share']:.0f} %" + (f", aim {100 * target['aim']:.0f}" if "aim" in target else "")
    if "gain" in target:
        return f"{target['gain']:.2f} times"
    return "ahead"


def reached(row: dict[str, Any]) -> bool:
    """Whether a row reached its target; being the fastest is the target of a row without a figure."""
    target = row["target"]
    if "seconds" in target:
        return row["results"]["fastnn"]["seconds"] <= target["seconds"]
    if "share" in target:
        return (share(row) or 0.0) >= target["share"]
    rival = best_rival(row)
    return rival is None or rival[1] >= target.get("gain", 1.0)


def per_cent(part: float | None) -> str:
    return "" if part is None else f"{100 * part:.0f} %"


def label(row: dict[str, Any]) -> str:
    """The row's name, or kernel, size, and what is not ordinary: threads other than two, float64."""
    if "name" in row:
        return row["name"]
    parts = [row["kernel"], "x".join(map(str, row["size"]))]
    parts += [row["dtype"]] if row["dtype"] != "float32" else []
    parts += ["1 thread"] if row["threads"] == 1 else []
    return ", ".join([" ".join(parts[:2]), *parts[2:]])


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The table for the terminal: fastnn and its plain median, then what each competitor takes, as times of fastnn's time in brackets."""
    names = list(dict.fromkeys(name for row in rows for name in row["results"] if name != "fastnn"))
    lines = [["work", "fastnn", "median", *names, "best rival", "rate", "of peak", "target", "reached"]]
    for row in rows:
        own = row["results"]["fastnn"]
        cells = [label(row), time_text(own["seconds"]), time_text(own["median"])]
        for name in names:
            result = row["results"].get(name)
            cells.append(f"{time_text(result['seconds'])} ({result['seconds'] / own['seconds']:.2f})" if result else "-")
        rival = best_rival(row)
        cells += [f"{rival[1]:.2f}" if rival else "-", f"{row['amount'] / own['seconds'] / 1e9:.3g} {row['unit']}", per_cent(share(row))]
        lines.append([*cells, target_text(row), "yes" if reached(row) else "no"])
    return aligned(lines, left=1)


def forms(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Which form of each competitor stood for it, where it had a choice."""
    seen: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        for name, result in row["results"].items():
            if result["form"]:
                seen.setdefault((name, row["kernel"]), {})[result["form"]] = None
    return [f"{name}, {kernel}: {' or '.join(found)}" for (name, kernel), found in seen.items()]


def scaling(rows: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, float]]]:
    """For each product measured on one thread and on two, how many times faster each competitor is on two; the row is that of two."""
    single = {(row["kernel"], *row["size"], row["dtype"]): row for row in rows if row["threads"] == 1}
    found = []
    for row in rows:
        one = single.get((row["kernel"], *row["size"], row["dtype"]))
        if row["threads"] == 2 and one:
            both = [name for name in row["results"] if name in one["results"]]
            found.append((row, {name: one["results"][name]["seconds"] / row["results"][name]["seconds"] for name in both}))
    return found


def scaling_table(rows: Sequence[dict[str, Any]], target: float) -> str:
    """Scaling from one thread to two as text; large products have the target."""
    found = scaling(rows)
    names = list(dict.fromkeys(name for _, gains in found for name in gains))
    lines = [["two threads over one", *names, "target", "reached"]]
    for row, gains in found:
        large = row["amount"] > 1e8
        cells = [f"{gains[name]:.2f}" if name in gains else "-" for name in names]
        lines.append([label(row), *cells, *([f"{target:.2f}", "yes" if gains["fastnn"] >= target else "no"] if large else ["", ""])])
    return aligned(lines, left=1)


# ---------------------------------------------------------------------------------------------------------------------------------
# README


def readme_table(data: dict[str, Any], work: str = "kernel", note: str = "") -> str:
    """The rows that are meant for README as a table in Markdown, under the machine they were measured on; `work` is what a row is.

    `note` takes the place of the sentence about memory.
    """
    machine = data["machine"]
    lines = [
        f"{machine['cpu']}, {machine['threads']} threads, {machine['isa']}, {machine['date']}; "
        + ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
        + ".",
        "",
        f"| {work} | fastnn | of peak | best rival |",
        "|---|--:|--:|---|",
    ]
    for row in data["rows"]:
        if row["readme"]:
            rival = best_rival(row)
            against = f"{rival[1]:.2f} times fastnn's time ({rival[0]})" if rival else ""
            cells = [label(row), time_text(row["results"]["fastnn"]["seconds"]), per_cent(share(row)), against]
            lines.append(f"| {' | '.join(cells)} |")
    flops = " and ".join(f"{machine['threads'] * rate:.0f} GFLOP/s of {dtype}" for dtype, rate in machine["gflops_per_thread"].items())
    triad = f", or of {machine['stream_gbytes']:.1f} GB/s of stream triad, measured in the same run; none where the arrays stay in cache."
    lines += ["", f"Per cent are of {flops} multiply-adds{note or triad} {together(machine)}."]
    return "\n".join(lines)


def write_readme(path: Path, mark: str, table: str) -> None:
    """Put the table between `mark` and the end mark that follows it in the file; ValueError where it does not have them."""
    text = path.read_text(encoding="utf-8")
    before, start, rest = text.partition(mark)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{path.name} has no {mark} followed by {END}")
    path.write_text(f"{before}{mark}\n{table}\n{END}{after}", encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------------------
# Sizes


def holes(widths: Sequence[int], shares: Sequence[float]) -> list[int]:
    """The widths whose share of the peak is less than 0.7 of the mean of their two neighbours'."""
    inner = zip(shares, widths[1:], shares[1:], shares[2:])
    return [width for left, width, here, right in inner if here < HOLE * (left + right) / 2]


def curves(points: Sequence[dict[str, Any]], name: str) -> dict[tuple[str, int], tuple[list[int], list[float]]]:
    """Widths and shares of the peak for each direction and batch, by width."""
    found: dict[tuple[str, int], tuple[list[int], list[float]]] = {}
    for point in sorted(points, key=lambda point: point["width"]):
        widths, shares = found.setdefault((point["direction"], point["batch"]), ([], []))
        part = share(point, name)
        assert part is not None
        widths.append(point["width"])
        shares.append(part)
    return found


def holes_text(points: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each curve of fastnn that has holes, or one that says there are none."""
    found = {key: holes(*curve) for key, curve in curves(points, "fastnn").items()}
    lines = [f"{direction}, batch {batch}: {', '.join(map(str, widths))}" for (direction, batch), widths in found.items() if widths]
    return [f"widths below {HOLE} of their neighbours' mean:", *lines] if lines else [f"no width is below {HOLE} of its neighbours' mean"]


# ---------------------------------------------------------------------------------------------------------------------------------
# Pictures


def plot_table(path: Path, data: dict[str, Any]) -> None:
    """Horizontal bars: each competitor's time relative to fastnn's, a group for each row, on a logarithmic scale."""
    from matplotlib.figure import Figure

    rows = data["rows"]
    names = list(dict.fromkeys(name for row in rows for name in row["results"] if name != "fastnn"))
    bars: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    ticks, place = [], 0.0
    for row in rows:
        rivals = [name for name in names if name in row["results"]]
        ticks.append(place + (len(rivals) - 1) / 2)
        for k, name in enumerate(rivals):
            bars[name].append((place + k, row["results"][name]["seconds"] / row["results"]["fastnn"]["seconds"]))
        place += len(rivals) + 1
    figure = Figure(figsize=(9, 1.5 + 0.11 * place), layout="constrained")
    axes = figure.subplots()
    for name, found in bars.items():
        axes.barh([at for at, _ in found], [ratio - 1 for _, ratio in found], 1.0, left=1.0, label=name)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(ticks, [label(row) for row in rows], fontsize=8)
    axes.set_ylim(place, -1)
    axes.set_xlabel("time relative to fastnn (to the right of the line: slower than fastnn)")
    axes.grid(axis="x", which="both", linewidth=0.3)
    if names:
        figure.legend(loc="outside upper center", ncols=min(len(names), 4))
    axes.set_title("\n".join(caption(data["machine"])), fontsize=8)
    figure.savefig(path, dpi=150)


def plot_sizes(path: Path, data: dict[str, Any]) -> None:
    """Per cent of the peak over the width, a line for each batch; competitors are thin."""
    from matplotlib.figure import Figure

    points = data["points"]
    directions = list(dict.fromkeys(point["direction"] for point in points))
    batches = sorted({point["batch"] for point in points})
    names = list(dict.fromkeys(name for point in points for name in point["results"]))
    figure = Figure(figsize=(10, 1.0 + 4.5 * len(directions)), layout="constrained")
    grid = figure.subplots(len(directions), squeeze=False)[:, 0]
    for name in names:
        for (direction, batch), (widths, shares) in curves(points, name).items():
            own = name == "fastnn"
            axes = grid[directions.index(direction)]
            axes.plot(widths, [100 * part for part in shares], color=f"C{batches.index(batch)}", marker="." if own else None,
                      linewidth=1.6 if own else 0.6, linestyle="-" if own else "--", label=f"{name}, batch {batch}")  # fmt: skip
    for axes, direction in zip(grid, directions):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_ylim(0, None)
        axes.set_title(direction)
        axes.set_ylabel("per cent of peak")
        axes.grid(linewidth=0.3)
    grid[-1].set_xlabel("width of the layer (inputs and outputs)")
    if len(grid):
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    figure.suptitle("\n".join(caption(data["machine"])), fontsize=8)
    figure.savefig(path, dpi=150)


def caption(machine: dict[str, Any]) -> list[str]:
    versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
    return [f"{machine['cpu']}, {machine['threads']} threads, {machine['isa']}, {machine['date']}", versions]
