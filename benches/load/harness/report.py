"""The tables: what is printed, and what RESULTS.md says. Everything in it is computed here; nothing is typed."""

import datetime

from . import measure
from .measure import ROUNDS_MIN, SATURATED, STATES, median, quartiles
from .proxies import PROXIES
from .workloads import WORKLOADS


def number(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}".replace(",", " ")


def ratio(values):
    """The median of ratios, with their quartiles."""
    between = quartiles(values)
    return "-" if not values else f"{median(values):.2f}" + (f" ({between[0]:.2f}-{between[1]:.2f})" if between else "")


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines] + [""]


def rounds_of(result):
    """Which rounds a workload's figures are of, in words."""
    kept = {state: len(result.kept(state)) for state in STATES}
    reasons = {}
    for it in result.rounds:
        for complaint in it.complaints():
            reasons[complaint] = reasons.get(complaint, 0) + 1
    thrown = len(result.rounds) - sum(kept.values())
    text = f"{len(result.rounds)} rounds: {kept['near']} kept near, {kept['far']} far, {thrown} thrown away"
    text += f" ({', '.join(f'{reason} {count}' for reason, count in reasons.items())})" if reasons else ""
    if not result.is_quiet():
        text += "; **too few were quiet: the figures are of all rounds in which the machine did not change**"
    return text


def per_state(result, state, of):
    return median(result.values(of[0], of[1], state)) if state in result.states() else None


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
            ratio(result.ratios("corelane", name, measure.cpu_us)),
        ]
        row += [number(median(result.values(name, measure.cpu_us, other))) for other in others]
        row += [ratio(result.ratios("corelane", name, measure.cpu_us, other)) for other in others]
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
            speeds = f"{min(s[0] for s in one.speeds)}/{max(s[1] for s in one.speeds)} ns"
            waited = max((it.waited for it in one.slices), default=0) * 100
            words = f"{one.state()} {speeds} steal {one.steal * 100:.1f} foreign {one.foreign * 100:.1f} waited {waited:.1f} %"
            lines.append(f"{result.workload} {index}: {cpu} | {words} {', '.join(one.complaints())}".rstrip())
    return [*lines, "```", ""]


def heading(facts):
    now = datetime.datetime.now(datetime.timezone.utc)
    return [
        "# Results",
        "",
        "Written by `benches/load/run`. [README.md](README.md) says how it is measured and how to read it.",
        "",
        f"- date: {now:%Y-%m-%d %H:%M} UTC, revision {facts['revision']}",
        f"- machine: {facts['machine']}",
        f"- versions: {'; '.join(facts['versions'])}",
        f"- command: `{facts['command']}`, {facts['minutes']:.0f} minutes",
        *([f"- {facts['note']}"] if facts["note"] else []),
        "",
    ]
