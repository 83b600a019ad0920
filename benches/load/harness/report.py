"""The tables: what is printed, and what RESULTS.md says. Everything in it is computed here; nothing is typed."""

import datetime
from dataclasses import dataclass

from . import measure, plot, targets
from .measure import SATURATED, STATES, median, quartiles
from .proxies import PROXIES
from .workloads import WORKLOADS


@dataclass
class Part:
    """What RESULTS.md says under one heading, measured in one run: without TLS, over it, or over HTTP/2."""

    title: str
    # Of the files with its plots.
    prefix: str
    results: list
    memories: dict
    rates: list
    notes: list
    saturation: float

    def is_empty(self):
        return not (self.results or self.memories or self.rates)


# title, prefix of its plots
PARTS = (("# Results", ""), ("# Over TLS", "tls-"), ("# Over HTTP/2", "http2-"))


def parts(session):
    """All, in the order of the file."""

    def place(name):
        workload = WORKLOADS[name]
        return 2 if workload.streams else int(bool(workload.tls))

    def part(number, title, prefix):
        results = [it for it in session.results if place(it.workload) == number]
        memories = {name: found for name, found in session.memories.items() if place(name) == number}
        rates, notes = (session.rates, session.notes) if number == 0 else ([], [])
        return Part(title, prefix, results, memories, rates, notes, session.saturation)

    return [part(number, *names) for number, names in enumerate(PARTS)]


def number(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def ratio(values):
    """The median of ratios, with their quartiles."""
    between = quartiles(values)
    return "-" if not values else f"{median(values):.2f}" + (f" ({between[0]:.2f}-{between[1]:.2f})" if between else "")


def cost(result, name, state=None):
    """Corelane's CPU time as a ratio, marked where too few rounds were quiet."""
    text = ratio(result.ratios("corelane", name, measure.cpu_us, state))
    return text if text == "-" or result.is_quiet("corelane", name, state) else text + " ~"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines] + [""]


def rounds_of(result):
    """Which rounds a workload's figures are of, in words."""
    reasons = {}
    for it in result.rounds:
        for complaint in it.complaints():
            reasons[complaint] = reasons.get(complaint, 0) + 1
    slices = [it for one in result.rounds for it in one.slices]
    moved = sum(1 for it in slices if it.state() is None)
    text = f"{len(result.rounds)} rounds, {len(result.rounds) - len(result.quiet())} thrown away"
    text += f" ({', '.join(f'{reason} {count}' for reason, count in reasons.items())})" if reasons else ""
    text += "; compared in " + ", ".join(f"{result.compared(state)} {state}" for state in STATES)
    text += f"; {moved} of {len(slices)} slices thrown away because the machine changed or the proxy waited"
    return text


def workload_table(result):
    """A row for each proxy: what a request cost it, and Corelane's cost as a ratio to it."""
    state = result.state()
    has_counters = any(it.counted for one in result.rounds for it in one.slices)
    head = ["proxy", "CPU µs", "user", "requests/s", "core", "load core", "CPU, corelane ÷ it"]
    others = [other for other in result.states() if other != state]
    head += [f"{other}: CPU µs" for other in others] + [f"{other}: corelane ÷ it" for other in others]
    head += ["instructions user + kernel", "cycles", "instructions, corelane ÷ it"] if has_counters else []
    rows = []
    for name in result.proxies:
        core = median(result.values(name, lambda it: it.core))
        bottleneck = "" if core is None or core >= SATURATED else " (not its limit)"
        user = result.user.get(name)
        row = [
            name,
            number(median(result.values(name, measure.cpu_us))),
            "-" if user is None else f"{user * 100:.0f} %",
            number(median(result.values(name, measure.rate)), 0) + bottleneck,
            "-" if core is None else f"{core * 100:.0f} %",
            f"{(median(result.values(name, lambda it: it.load_core)) or 0) * 100:.0f} %",
            cost(result, name),
        ]
        row += [number(median(result.values(name, measure.cpu_us, other))) for other in others]
        row += [cost(result, name, other) for other in others]
        if has_counters:
            counts = [median(result.values(name, measure.counted(f"instructions_{part}"))) for part in ("user", "kernel")]
            row.append(f"{number(counts[0], 0)} + {number(counts[1], 0)}")
            row.append(number(median(result.values(name, measure.counted("cycles"))), 0))
            row.append(ratio(result.ratios("corelane", name, measure.counted("instructions"))))
        rows.append(row)
    about = WORKLOADS[result.workload].about
    lines = [f"### {result.workload}: {about}", ""]
    lines += table(head, rows)
    lines += [f"Figures with the cores {state}. {rounds_of(result)}. Softirq: {result.softirq * 100:.0f} % of the core's time.", ""]
    return lines


def paced_table(rate_of, result):
    """A row for each proxy at a fixed rate: latency beside cost."""
    rows = []
    for name in result.proxies:
        times = [median(result.values(name, lambda it, of=of: it.latency.get(of))) for of in ("p50", "p99", "p99.9")]
        tail = ratio(result.ratios("corelane", name, lambda it: it.latency.get("p99")))
        rows.append([
            name,
            number(median(result.values(name, measure.rate)), 0),
            *(number(value, 0) for value in times),
            number(median(result.values(name, measure.cpu_us))),
            cost(result, name),
            tail,
            f"{(median(result.values(name, lambda it: it.core)) or 0) * 100:.0f} %",
        ])
    head = ["proxy", "requests/s", "p50 µs", "p99 µs", "p99.9 µs", "CPU µs", "CPU, corelane ÷ it", "p99, corelane ÷ it", "core"]
    lines = [f"### {result.workload}: {rate_of:.0f} requests/s asked for", "", *table(head, rows)]
    return [*lines, f"Figures with the cores {result.state()}. {rounds_of(result)}.", ""]


def memory_table(name, memories):
    rows = []
    for it in memories:
        per = it.per_connection
        row = [it.proxy, number(per / 1024), number(it.during / 1048576), number(it.pss / 1048576), number(it.peak / 1048576)]
        row.append(number(it.cpu_ms_per_second, 1) if it.cpu_ms_per_second else str(it.closed))
        rows.append(row)
    last = "CPU ms a second" if name.startswith("slow") else "closed by the proxy"
    head = ["proxy", "KiB a connection", "its own MiB", "PSS MiB", "peak RSS MiB", last]
    about = f"user memory of {memories[0].connections} connections"
    return [f"### {name}: {about}", "", *table(head, rows)]


def overview(results):
    """CPU µs a request of every proxy under every workload."""
    names = [name for name in PROXIES if any(name in result.proxies for result in results)]
    rows = []
    for name in names:
        cells = [median(result.values(name, measure.cpu_us)) for result in results]
        rows.append([name, *(number(cell, 1 if cell and cell >= 100 else 2) for cell in cells)])
    return table(["CPU µs a request", *(result.workload for result in results)], rows)


def details(results):
    """Every round, short."""
    lines = ["```text"]
    for result in results:
        for index, one in enumerate(result.rounds, 1):
            cpu = " ".join(f"{name} {one.of(name).cpu_us:.2f}" for name in result.proxies if one.of(name))
            states = " ".join((one.of(name).state() or "-")[0] for name in result.proxies if one.of(name))
            waited = max((it.waited for it in one.slices), default=0) * 100
            words = f"{states} steal {one.steal * 100:.1f} foreign {one.foreign * 100:.1f} waited {waited:.1f} %"
            lines.append(f"{result.workload} {index}: {cpu} | {words} {', '.join(one.complaints())}".rstrip())
    return [*lines, "```", ""]


def heading(part, facts):
    now = datetime.datetime.now(datetime.timezone.utc)
    note = "; ".join([facts["note"], *part.notes]).strip("; ")
    return [
        part.title,
        "",
        "Written by `benches/load/run`. [README.md](README.md) says how it is measured and how to read it.",
        "",
        f"- date: {now:%Y-%m-%d %H:%M} UTC, revision {facts['revision']}",
        f"- machine: {facts['machine']}",
        f"- versions: {'; '.join(facts['versions'])}",
        f"- command: `{facts['command']}`, {facts['minutes']:.0f} minutes",
        *([f"- {note}"] if note else []),
        "",
    ]


def targets_section(part):
    found = targets.rows(part.results, part.memories)
    head = ["measure, of corelane", "target", "cores near", "cores far", "reached"]
    return ["## Targets", "", *table(head, found), TARGETS_NOTE, ""] if found else []


TARGETS_NOTE = (
    "Medians of ratios within the round. \"Near\" and \"far\": whether the proxies' core and the load's core shared a cache "
    "(README.md); near counts where it was met often enough, else far. \"Disturbed\", and ~ in the tables: fewer than three quiet "
    "rounds, so it is of all of them. Allocations per request are shown by a test of the "
    "engine, not here."
)


def before_section(part):
    """What a change did: the ratio to the binary of --before under each workload."""
    rows = []
    for result in part.results:
        if "before" not in result.proxies:
            continue
        row = [result.workload]
        for state in STATES:
            row.append(ratio(result.ratios("corelane", "before", measure.cpu_us, state)))
        row.append(ratio(result.ratios("corelane", "before", measure.rate)))
        row += [ratio(result.ratios("corelane", "before", measure.counted(f"instructions_{part}"))) for part in ("user", "kernel")]
        row.append(ratio(result.ratios("corelane", "before", measure.counted("cycles"))))
        rows.append(row)
    head = ["corelane ÷ before", "CPU, near", "CPU, far", "requests/s", "instructions, user", "kernel", "cycles"]
    return ["## Against the binary of --before", "", *table(head, rows)] if rows else []


def summary(part):
    """What is printed at the end, and what a part of RESULTS.md begins with."""
    lines = [*targets_section(part), *before_section(part), "## CPU per request", ""]
    lines += overview(part.results) if part.results else []
    for result in part.results:
        is_paced = WORKLOADS[result.workload].kind == "rate"
        lines += paced_table(part.saturation / 3, result) if is_paced else workload_table(result)
    for rate, result in part.rates:
        lines += paced_table(rate, result)
    for name, memories in part.memories.items():
        lines += memory_table(name, memories)
    return lines


def write(session, facts, folder):
    """RESULTS.md and the plots that there are figures for. What was not measured stays as it is there."""
    path = folder / "RESULTS.md"
    text, old = path.read_text() if path.exists() else "", {}
    for title, _ in reversed(PARTS):
        text, mark, rest = (f"\n{text}").partition(f"\n{title}\n")
        text, old[title] = text[1:], mark.lstrip() + rest
    found = [old[part.title] if part.is_empty() else text_of(part, facts, folder) for part in parts(session)]
    path.write_text("\n".join(text for text in found if text))


def text_of(part, facts, folder):
    """A part of RESULTS.md."""
    groups = []
    for result in part.results:
        values = [(name, PROXIES[name].family, median(result.values(name, measure.cpu_us))) for name in result.proxies]
        values = [value for value in values if value[2] is not None]
        if values:
            groups.append((f"{result.workload} (cores {result.state()})", values))
    plots = []
    if groups:
        (folder / f"{part.prefix}cpu.svg").write_text(plot.bars("CPU µs per request", groups))
        plots.append(f"![CPU per request]({part.prefix}cpu.svg)")
    if part.rates:
        series = []
        for name in part.rates[0][1].proxies:
            points = [(asked, median(it.values(name, measure.rate)), median(it.values(name, p99))) for asked, it in part.rates]
            # One that does not keep up has a queue and no latency.
            points = [(rate, tail) for asked, rate, tail in points if tail and rate > KEEPS_UP * asked]
            if points:
                series.append((name, PROXIES[name].family, points))
        (folder / "p99.svg").write_text(plot.lines("p99 against rate, GET 1 KiB", "requests/s", "p99, µs", series))
        plots.append("![p99 against rate](p99.svg)")
    lines = [*heading(part, facts), *targets_section(part), *plots, ""]
    lines += summary(part)[len(targets_section(part)):]
    about = "CPU µs a request of each; where the cores were (near, far, -: not the same throughout); and what disturbed."
    return "\n".join([*lines, "## Rounds", "", about, "", *details(part.results)])


# Of the rate asked for.
KEEPS_UP = 0.98


def p99(it):
    return it.latency.get("p99")
