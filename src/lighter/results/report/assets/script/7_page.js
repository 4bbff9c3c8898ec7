// The page: its head, its sections in order, and when they are drawn.

function head() {
  const count = D.table.rows.length;
  const what =
    D.kind === "experiment"
      ? plural(
          D.searches.reduce((sum, search) => sum + search.trials.length, 0),
          "trial",
        ) + (count !== D.groups.length ? ` in ${plural(count, "run")}` : "")
      : plural(count, "run");
  const model = D.models.length ? ` of ${list(D.models)}` : "",
    data = D.datasets.length ? ` on ${list(D.datasets)}` : "";
  const sizes = Object.entries(D.samples).map(
    ([mode, size]) =>
      `${size.toLocaleString("en-US")} ${{train: "training", val: "validation", test: "test", predict: "prediction"}[mode] ?? mode}`,
  );
  const statuses = Object.entries(D.statuses).map(([status, number]) =>
    el("span", {class: `status ${status}`}, `${number.toLocaleString("en-US")} ${status}`),
  );
  document.querySelector("header").append(
    ...[
      el("h1", {}, D.title),
      el("p", {class: "lead"}, `${what}${model}${data}${sizes.length ? ` (${sizes.join(", ")} samples)` : ""}.`),
      count > 1 &&
        el(
          "p",
          {class: "soft"},
          statuses.flatMap((node, index) => (index ? ["   ", node] : [node])),
        ),
      ...D.notes.map(note => el("p", {class: "note"}, note)),
    ].filter(Boolean),
  );
}

const MOST_GROUPS = 8;

function differencesSection() {
  const parts = [],
    shown = D.groups.slice(0, MOST_GROUPS);
  const heads = [
    "",
    ...shown.map(group => (shown.length > 4 && group.trial !== null ? `trial ${group.trial}` : group.label)),
  ];
  const rows = list =>
    list.map(row => [pathText(row.path), ...row.values.slice(0, MOST_GROUPS).map(value => cut(value, 80))]);
  const whole = D.config.filter(row => !row.partial),
    partial = D.config.filter(row => row.partial);
  if (D.config.length)
    parts.push(
      el("h3", {}, "Config"),
      D.groups.length > MOST_GROUPS &&
        el(
          "p",
          {class: "note"},
          `the first ${MOST_GROUPS} of ${D.groups.length} groups; the table of runs has all values`,
        ),
    );
  if (whole.length) parts.push(folded(heads, rows(whole), "values differ"));
  if (partial.length)
    parts.push(
      el(
        "details",
        {class: "more"},
        el("summary", {}, `${plural(partial.length, "value")} that only some have`),
        table(heads, rows(partial), {wrap: true}),
      ),
    );
  if (D.differences.length)
    parts.push(
      el("h3", {style: {"margin-top": "18px"}}, "Code, environment and data"),
      el("p", {class: "note"}, `the first run of each group, compared with that of ${D.groups[0].label}`),
      folded(
        ["", "name", "first", "other", "groups"],
        D.differences.map(each => [
          each.about,
          each.name,
          cut(each.before, 120),
          cut(each.after, 120),
          groupsText(each.groups),
        ]),
        "differences",
      ),
    );
  if (D.groups.length > 1 && !D.differences.length)
    parts.push(
      el(
        "p",
        {class: "soft", style: {"margin-top": "10px"}},
        "Code, packages, machine and data are the same for the first run of each group.",
      ),
    );
  for (const one of D.patches)
    parts.push(
      el(
        "details",
        {class: "more"},
        el("summary", {}, `Changes that were not committed, of ${one.label}`),
        el("pre", {class: "scroll", tabindex: 0}, one.text),
      ),
    );
  for (const one of D.configs)
    parts.push(
      el(
        "details",
        {class: "more"},
        el("summary", {}, `Whole config of ${one.label}`),
        table(
          ["path", "value"],
          one.values.map(([path, value]) => [pathText(path), value]),
          {wrap: true},
        ),
      ),
    );
  return parts;
}

const groupsText = labels =>
  labels.length === 1
    ? labels[0]
    : labels.length === D.groups.length - 1
      ? "all others"
      : labels.length > 3
        ? `${labels.length} groups`
        : labels.join("; ");

/** A table whose rows after the first dozen are shown on demand. */
function folded(heads, rows, noun, first = 12) {
  if (rows.length <= first + 3) return table(heads, rows, {wrap: true});
  return [
    table(heads, rows.slice(0, first), {wrap: true}),
    el(
      "details",
      {class: "more"},
      el("summary", {}, `${rows.length - first} more ${noun}`),
      table(heads, rows.slice(first), {wrap: true}),
    ),
  ];
}

function resourcesSection() {
  const {runs, seconds, machines, software} = D.resources;
  const spans = runs.flatMap(each => each.spans.map(([start, end]) => ({run: D.runs[each.run], start, end})));
  const first = Math.min(...spans.map(span => span.start)),
    last = Math.max(...spans.map(span => span.end));
  const times = runs
    .map(each => each.spans.reduce((sum, [start, end]) => sum + end - start, 0))
    .filter(Boolean)
    .sort((a, b) => a - b);
  const started = spans.length ? new Date(first * 1000).toISOString().slice(0, 16).replace("T", " ") + " UTC" : null;
  // runs of a day with hours between them would be specks
  const isDense = times.reduce((sum, time) => sum + time, 0) > 0.1 * (last - first);
  const failed = D.runs.filter(run => ["failed", "lost", "interrupted"].includes(run.status)).length;
  const commits = [
    ...new Set(
      D.runs
        .map(run => run.commit && `${run.commit.slice(0, 12)}${run.changed ? " with uncommitted changes" : ""}`)
        .filter(Boolean),
    ),
  ];
  const facts = [...machines, ...software]
    .map(each => [each.runs, each.text])
    .concat(
      commits.map(text => [
        D.runs.filter(run => run.commit && text.startsWith(run.commit.slice(0, 12))).length,
        `commit ${text}`,
      ]),
    );
  return [
    tiles(
      [
        ["all runs together", duration(seconds), failed ? `of which ${plural(failed, "run")} did not finish` : null],
        times.length > 1 && [
          "a run, median",
          duration(times[Math.floor(times.length / 2)]),
          `${duration(times[0])} to ${duration(times.at(-1))}`,
        ],
        spans.length > 1 && ["from first to last", duration(last - first)],
        started && ["started", started],
      ].filter(Boolean),
    ),
    spans.length > 1 &&
      spans.length <= 400 &&
      last > first &&
      isDense &&
      chart(
        "When each run ran",
        "a bar for each start; red: it did not finish",
        width => {
          const end = last - first,
            [unit, word] = timeUnit(end),
            rows = [...new Set(spans.map(span => span.run.id))];
          const colour = status =>
            ({finished: "var(--c0)", paused: "var(--c5)", running: "var(--c2)"})[status] ?? "var(--bad)";
          return plot(width, {
            height: Math.min(44 + Math.max(6, Math.min(16, 420 / rows.length)) * rows.length, 480),
            marginLeft: 14,
            marginTop: 4,
            x: {label: null, grid: true, domain: [0, end / unit]},
            y: {type: "band", domain: rows, axis: null, padding: 0.25},
            marks: [
              Plot.axisX({label: `${word} since the first start`, tickFormat: tick}),
              Plot.barX(spans, {
                x1: span => (span.start - first) / unit,
                x2: span => (span.end - first) / unit,
                y: span => span.run.id,
                fill: span => colour(span.run.status),
                insetLeft: 0.5,
              }),
              Plot.tip(
                spans,
                Plot.pointer({
                  x: span => (span.start + span.end - 2 * first) / 2 / unit,
                  y: span => span.run.id,
                  title: span => `${span.run.id}\n${span.run.status}, ${duration(span.end - span.start)}`,
                  ...tipStyle,
                }),
              ),
            ],
            color: {type: "identity"},
          });
        },
        {wide: true},
      ).figure,
    facts.length > 0 && table(["runs", "machine, software and code"], facts, {n: [0], wrap: true}),
  ];
}

document.querySelector("header").append(...[attempt("head", head)].filter(Boolean));
section("findings", D.runs.length === 1 ? "Result" : "Findings", findingsSection);
section("runs", "Runs", runsTable);
section("curves", "Curves", curvesSection);
section("search", "Search", searchSection);
section("folds", "Folds", foldsSection);
section("predictions", "Predictions", evaluationsSection);
section("pictures", "Pictures", picturesSection);
section("differences", D.groups.length > 1 ? "Differences" : "Config", differencesSection);
if (D.runs.length) section("resources", "Resources", resourcesSection);
document.querySelector("nav div").append(...sections.map(({id, title}) => el("a", {href: `#${id}`}, title)));

const drawAll = force => charts.filter(one => one.figure.isConnected).forEach(one => one.redraw(force));
drawAll(true);
let waiting = 0;
addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => drawAll(false), 120);
});
addEventListener("scrollend", () => kept.write("scroll", scrollY));
if (document.querySelector("meta[http-equiv='refresh']")) scrollTo(0, kept.read("scroll", 0));
document.documentElement.dataset.ready = "yes";
