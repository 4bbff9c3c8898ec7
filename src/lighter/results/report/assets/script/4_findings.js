// What came out: the verdict and what it stands on, the best so far, and what failed.

const MOST_SIDES = 20;

function findingsSection() {
  return [verdictPart(), D.searches.map(bestSoFar), oneGroup(), sidesChart(), keyFigures(), failures()]
    .flat()
    .filter(Boolean);
}

function verdictPart() {
  const found = D.verdict;
  if (!found) return [];
  if (found.refused) {
    const [first, ...lines] = found.refused.split("\n").filter(Boolean);
    return [
      el("p", {class: "verdict"}, named(`No verdict: ${first.replace(/[.:]?$/, ".")}`)),
      lines.map(line => el("p", {}, named(line))),
    ];
  }
  const notes = [...(found.notes ?? []), ...(found.allowed ?? [])];
  const {sampled = [], fixed = []} = found.variance ?? {};
  if (sampled.length) notes.push(`Sources of variance that were sampled: ${list(sampled)}.`);
  if (fixed.length) notes.push(`Held fixed, so that nothing is said about them: ${list(fixed)}.`);
  return [
    el("p", {class: "verdict"}, named(found.verdict)),
    sidesTable(found),
    notes.length > 0 && [
      el("h3", {style: {"margin-top": "14px"}}, "What this does not cover"),
      el(
        "ul",
        {class: "plain"},
        notes.map(note => el("li", {}, named(note))),
      ),
    ],
  ].flat();
}

function sidesTable(found) {
  const compared = found.sides.map(side => side.against).filter(Boolean);
  const isTested = one => one.interval || isNumber(one.p_adjusted),
    hasTests = compared.some(isTested);
  const correction = compared.length > 1 && found.correction ? ` (${found.correction.split("'")[0]})` : "";
  const heads = [
    "",
    "n",
    short(found.metric),
    ...(compared.length ? ["difference"] : []),
    ...(hasTests ? ["95% interval", `p${correction}`, "chance to be better", "paired"] : []),
  ];
  const rows = found.sides.map(side => {
    const one = side.against,
      best = side.is_best ? "best" : "";
    const own = [
      {text: side.name + (side.is_tied && isTested(one) ? " (tied)" : ""), class: best},
      side.values.length,
      {text: side.text, class: best},
    ];
    if (!one) return [...own, ...heads.slice(own.length).map(() => "")];
    const tests = [
      one.interval ? `${num(one.interval[0])} to ${num(one.interval[1])}` : "–",
      isNumber(one.p_adjusted) ? num(one.p_adjusted, 2) : "–",
      isNumber(one.probability_better) ? `${Math.round(100 * one.probability_better)}%` : "–",
      one.pairing === "none" ? "no" : `${one.pairs} by ${one.pairing}`,
    ];
    return [...own, num(one.difference), ...(hasTests ? tests : [])];
  });
  const words = [...new Set(compared.flatMap(one => [one.method, one.test]).filter(word => word && word !== "none"))];
  const refused = [
    ...new Set(compared.flatMap(one => [one.refused?.interval, one.refused?.p_value]).filter(Boolean)),
  ].map(text => text.replace(/\.$/, ""));
  const note = [
    `Differences are to ${compared[0]?.reference}`,
    words.join("; "),
    hasTests && refused.length && `–: ${refused.join("; ")}`,
  ]
    .filter(Boolean)
    .map(text => `${text}.`)
    .join(" ");
  return [
    table(heads, rows, {n: [1, 2, 3], caption: "Comparison"}),
    compared.length > 0 && el("p", {class: "note"}, named(note)),
  ];
}

function bestSoFar(search) {
  const best = search.trials.filter(trial => search.best.includes(trial.number));
  const done = Object.entries(search.counts).map(([status, count]) => `${count} ${status}`);
  const total = Object.values(search.counts).reduce((sum, count) => sum + count, 0);
  const state = `${search.asked && search.asked !== total ? `${total} of ${plural(search.asked, "trial")}` : plural(total, "trial")}: ${done.join(", ")}. The experiment ${search.state === "running" ? "is running" : `has ${search.state}`}.`;
  const goesOn = search.state === "running";
  if (!best.length)
    return [
      el("p", {class: "verdict"}, `No trial has a result${goesOn ? " yet" : ""}.`),
      el("p", {class: "soft"}, state),
      !goesOn &&
        (search.counts.finished ?? 0) > 0 &&
        el("p", {class: "soft"}, `None that finished has a finite ${short(search.objectives[0].metric)}.`),
    ];
  if (search.trials.length === 1)
    return [
      el("p", {class: "verdict"}, `${short(search.objectives[0].metric)}: ${outcome(best[0], 0)}.`),
      el("p", {class: "soft"}, search.folds.length > 1 ? `${state} ${FOLDS_SHARE}` : state),
    ];
  const chosen = search.parameters.map(each => `${each.label} = ${valueText(best[0].values[each.path])}`);
  const words =
    best.length > 1
      ? `${plural(best.length, "trial")} are on the Pareto front; best in ${short(search.objectives[0].metric)} is trial ${best[0].number}`
      : `Trial ${best[0].number} is the best${goesOn ? " so far" : ""} by ${search.objectives[0].mode} ${short(search.objectives[0].metric)}`;
  const values = search.objectives.map(
    (objective, index) =>
      `${search.objectives.length > 1 ? `${short(objective.metric)} ` : ""}${outcome(best[0], index)}`,
  );
  return [
    D.verdict && !D.verdict.refused
      ? el("h3", {style: {"margin-top": "14px"}}, `${words}: ${values.join(", ")}`)
      : el("p", {class: "verdict"}, `${words}: ${values.join(", ")}.`),
    chosen.length > 0 && el("p", {class: "soft"}, `With ${list(chosen)}.`),
    (!D.verdict || search.trials.filter(trial => isNumber(trial.objectives[0]?.mean)).length < 2) &&
      el(
        "p",
        {class: "soft"},
        search.rungs.length > 1
          ? "No other trial has come as far, so there is none to compare it with."
          : "No other trial has a result, so there is none to compare it with.",
      ),
    el("p", {class: "soft"}, `${state} The best of many trials looks better than it is: its value was chosen by.`),
  ];
}

function outcome(trial, index) {
  const each = trial.objectives[index];
  return `${each?.text ?? "–"}${each?.members > 1 ? ` (95% interval of ${each.members} runs)` : ""}`;
}

const FOLDS_SHARE = "Folds share training data, so that an interval over them is too narrow rather than too wide.";
const isPaused = point => D.runs[point.number].status === "paused";

/** All runs of each group as dots on one axis, with their mean: what every verdict stands on. */
function sidesChart() {
  if (D.groups.length < 2 && D.runs.length < 2) return [];
  if (D.datasets.length > 1 || !D.same_data)
    return [el("p", {class: "note"}, "The groups were measured on different data, which no axis has in common.")];
  const shown = ranked.filter(index => valuesOf(D.groups[index], D.metric).length).slice(0, MOST_SIDES);
  const hasMembers = shown.some(index => valuesOf(D.groups[index], D.metric).length > 1);
  if (shown.length < 2 && !hasMembers) return [];
  const dots = shown.flatMap(index =>
    D.groups[index].runs
      .map(number => ({index, number, value: D.runs[number].metrics[D.metric]}))
      .filter(each => D.runs[each.number].counts && isNumber(each.value)),
  );
  const left = ranked.filter(index => valuesOf(D.groups[index], D.metric).length).length - shown.length;
  const name = short(D.metric),
    good = goodness(D.mode);
  const means = shown
    .map(index => ({index, value: meanOf(D.groups[index], D.metric)}))
    .filter(each => each.value !== null);
  const notes = [
    good,
    hasMembers ? "a dot for each run, a line for the mean" : "a dot for each run",
    dots.some(isPaused) && "hollow: paused before its end",
    left > 0 && `the best ${MOST_SIDES} groups`,
    D.runs.some(run => !run.counts && isNumber(run.metrics[D.metric])) && "runs that did not finish are not in it",
    ...D.groups.filter(group => group.not_finite).map(group => `${group.label} has no mean: ${group.not_finite}`),
  ];
  return [
    chart(
      `${name} of each run, by group`,
      notes.filter(Boolean).join("; "),
      width => {
        const space = Math.min(
          Math.round(width * 0.42),
          12 + 6.6 * Math.max(...shown.map(index => groupLabel(index).length)),
        );
        return plot(width, {
          height: 46 + 27 * shown.length,
          marginLeft: space,
          marginTop: 4,
          x: {label: null, nice: true, grid: true},
          y: {type: "band", domain: shown, label: null, padding: 0.3},
          marks: [
            Plot.axisX({tickFormat: tick, ticks: Math.max(3, Math.floor((width - space) / 90)), label: null}),
            Plot.axisY({
              tickFormat: index => cut(groupLabel(index), Math.floor(space / 6.4)),
              tickSize: 0,
              label: null,
            }),
            hasMembers &&
              Plot.tickX(means, {x: "value", y: "index", stroke: point => colours[point.index], strokeWidth: 2.5}),
            Plot.dot(dots, {
              x: "value",
              y: "index",
              fill: point => (isPaused(point) ? "var(--ground)" : colours[point.index]),
              stroke: point => colours[point.index],
              fillOpacity: hasMembers ? 0.55 : 1,
              r: 4,
            }),
            Plot.tip(
              dots,
              Plot.pointer({
                x: "value",
                y: "index",
                title: point => `${groupLabel(point.index)}\n${D.runs[point.number].id}\n${num(point.value)}`,
                ...tipStyle,
              }),
            ),
          ].filter(Boolean),
          color: {type: "identity"},
        });
      },
      {wide: true},
    ).figure,
  ];
}

/** Of several runs of one config, their mean. */
function oneGroup() {
  const [group] = D.groups;
  if (D.groups.length !== 1 || D.searches.length) return [];
  if (group.not_finite && group.runs.length > 1)
    return [el("p", {class: "verdict"}, `${short(D.metric)}: no mean, as ${group.not_finite}.`)];
  if (!(group.estimate?.members > 1)) return [];
  const {text, half_width: half, members} = group.estimate;
  return [
    el(
      "p",
      {class: "verdict"},
      `${short(D.metric)}: ${text}${isNumber(half) ? ` (95% interval of the mean of ${plural(members, "run")}).` : `, the mean of ${plural(members, "run")}.`}`,
    ),
  ];
}

/** Of a single run, its last values. */
function keyFigures() {
  if (D.runs.length !== 1) return [];
  const [run] = D.runs;
  const names = D.table.columns
    .filter(column => column.kind === "metric")
    .map(column => column.path)
    .slice(0, 6);
  const figures = names.map(name => {
    const range = run.ranges[name],
      best = range && (D.modes[name] === "max" ? range[1] : range[0]);
    return [
      short(name),
      num(run.metrics[name]),
      isNumber(best) && best !== run.metrics[name] ? `best ${num(best)}` : null,
    ];
  });
  const place = run.progress
    ? [["trained", `${plural(run.progress.epoch ?? 0, "epoch")}`, plural(run.progress.step ?? 0, "step")]]
    : [];
  return [
    el("p", {}, el("span", {class: `status ${run.status}`}, run.status)),
    tiles([...figures, ...place]),
    run.command && el("p", {class: "code"}, run.command),
  ];
}

function failures() {
  const failed = D.runs.filter(run => run.error);
  if (!failed.length) return [];
  const shown = failed
    .slice(0, 5)
    .map(run => el("div", {class: "error"}, el("strong", {}, run.id), el("br"), cut(run.error, 400)));
  return [
    el("h3", {style: {"margin-top": "18px"}}, `${plural(failed.length, "run")} failed`),
    shown,
    failed.length > 5 && el("p", {class: "note"}, `${failed.length - 5} more are in the table of runs.`),
  ].flat();
}
