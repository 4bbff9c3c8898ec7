// The search of an experiment: each parameter against the objective, all together, importance, rungs, progress.

function searchSection() {
  return D.searches
    .filter(search => search.trials.length > 1)
    .flatMap(search => {
      const sign = search.objectives[0].mode === "max" ? -1 : 1;
      const known = search.trials.filter(trial => isNumber(trial.objectives[0]?.mean));
      const name = short(search.objectives[0].metric),
        many = D.searches.length > 1;
      const several = search.rungs.length > 1 && new Set(known.map(trial => trial.rung)).size > 1;
      const parts = [
        many && el("h3", {}, search.experiment),
        search.parameters.length > 0 &&
          known.length > 1 &&
          el(
            "div",
            {class: "grid small"},
            search.parameters.map(parameter => slice(search, parameter, known, name, several)),
          ),
        known.length > 2 && search.parameters.length > 1 && parallel(search, known, name, sign),
        el(
          "div",
          {class: "grid"},
          importances(search, name),
          progress(search, known, name, sign),
          rungs(search, name, sign),
        ),
        frontChart(search, known),
      ];
      return parts.filter(Boolean);
    });
}

const trialTip = (search, trial) =>
  [
    `trial ${trial.number}${trial.rung && trial.rung !== "end" ? `, at ${search.by} ${trial.rung}` : ""}`,
    ...search.objectives.map((objective, index) => `${short(objective.metric)}: ${outcome(trial, index)}`),
    ...search.parameters.map(each => `${each.label}: ${valueText(trial.values[each.path])}`),
  ].join("\n");
const isBest = (search, trial) => search.best.includes(trial.number);

function slice(search, parameter, known, name, several) {
  const isCategory = parameter.kind === "category";
  const at = trial => (isCategory ? valueText(trial.values[parameter.path]) : trial.values[parameter.path]);
  const points = known.filter(trial => trial.values[parameter.path] !== undefined);
  const distinct = [...new Set(points.map(at))].sort((a, b) => a - b);
  return chart(`${name} by ${parameter.label}`, several ? "hollow: stopped at an earlier rung" : null, width =>
    plot(width, {
      height: 210,
      x: isCategory ? {type: "point", label: null, padding: 0.6} : {type: parameter.scale, label: null, nice: true},
      y: {label: null, grid: true, nice: true},
      marks: [
        Plot.axisX({
          label: null,
          ticks: isCategory ? undefined : distinct.length <= 6 ? distinct : Math.max(2, Math.floor(width / 80)),
          tickFormat: isCategory ? text => cut(String(text), 16) : tick,
        }),
        Plot.axisY({label: null, ticks: 4, tickSize: 0, tickFormat: tick}),
        Plot.ruleX(
          points.filter(trial => isNumber(trial.objectives[0].half_width)),
          {
            x: at,
            y1: trial => trial.objectives[0].mean - trial.objectives[0].half_width,
            y2: trial => trial.objectives[0].mean + trial.objectives[0].half_width,
            stroke: "var(--rest)",
          },
        ),
        Plot.dot(points, {
          x: at,
          y: trial => trial.objectives[0].mean,
          r: trial => (isBest(search, trial) ? 6 : 4),
          stroke: trial => (isBest(search, trial) ? "var(--c1)" : "var(--c0)"),
          strokeWidth: 1.5,
          opacity: trial => (points.length > 100 && !isBest(search, trial) ? 0.45 : 1),
          fill: trial =>
            isBest(search, trial)
              ? "var(--c1)"
              : several && trial.rung !== known[0].rung
                ? "var(--ground)"
                : "var(--c0)",
        }),
        Plot.tip(
          points,
          Plot.pointer({
            x: at,
            y: trial => trial.objectives[0].mean,
            title: trial => trialTip(search, trial),
            ...tipStyle,
          }),
        ),
      ],
      r: {type: "identity"},
      color: {type: "identity"},
      opacity: {type: "identity"},
    }),
  ).figure;
}

/** Parallel coordinates: a line for each trial, through its values and its objective; the best quarter has colour. */
function parallel(search, known, name, sign) {
  const axes = [
    ...search.parameters.map(each => ({...each, get: trial => trial.values[each.path]})),
    {label: name, kind: "number", scale: "linear", get: trial => trial.objectives[0].mean},
  ];
  for (const axis of axes) Object.assign(axis, placed(axis, known));
  const sorted = [...known].sort((a, b) => sign * (a.objectives[0].mean - b.objectives[0].mean));
  const leading = new Set(sorted.slice(0, Math.max(1, Math.round(known.length / 4))));
  const points = sorted
    .reverse()
    .flatMap(trial =>
      axes.map((axis, index) => ({trial, x: index, y: axis.place(axis.get(trial))})).filter(point => isNumber(point.y)),
    );
  const marks = axes.flatMap((axis, index) => axis.ticks.map(([text, y]) => ({x: index, y, text: cut(text, 14)})));
  const colour = point =>
    isBest(search, point.trial) ? "var(--c1)" : leading.has(point.trial) ? "var(--c0)" : "var(--rest)";
  return chart(
    "All parameters together",
    "a line for each trial: the best in orange, the best quarter in blue; " +
      (sign > 0 ? "lower" : "higher") +
      ` is better on the last axis, ${name}`,
    width =>
      plot(width, {
        height: 290,
        marginLeft: 30,
        marginRight: 70,
        marginTop: 34,
        marginBottom: 12,
        x: {domain: [0, axes.length - 1], axis: null},
        y: {domain: [0, 1], axis: null},
        marks: [
          Plot.line(points, {
            x: "x",
            y: "y",
            z: point => point.trial.number,
            stroke: colour,
            strokeWidth: 1.5,
            strokeOpacity: point =>
              isBest(search, point.trial) ? 1 : Math.max(0.12, Math.min(0.85, 40 / known.length)),
            curve: "bump-x",
          }),
          Plot.ruleX(axes, {x: (_, index) => index, stroke: "var(--soft)"}),
          Plot.text(axes, {
            x: (_, index) => index,
            y: 1,
            text: axis => cut(axis.label, Math.max(8, Math.floor(width / axes.length / 8))),
            dy: -18,
            fontWeight: 600,
            fill: "var(--ink)",
          }),
          Plot.text(marks, {
            x: "x",
            y: "y",
            text: "text",
            dx: 5,
            textAnchor: "start",
            stroke: "var(--ground)",
            strokeWidth: 3,
            fill: "var(--soft)",
          }),
          Plot.tip(points, Plot.pointer({x: "x", y: "y", title: point => trialTip(search, point.trial), ...tipStyle})),
        ],
        color: {type: "identity"},
        opacity: {type: "identity"},
      }),
    {wide: true},
  ).figure;
}

/** Where the values of an axis lie, from 0 to 1, and its ticks. */
function placed(axis, known) {
  if (axis.kind === "category") {
    const texts = [...new Set(known.map(trial => valueText(axis.get(trial))))];
    const place = value => (texts.length > 1 ? texts.indexOf(valueText(value)) / (texts.length - 1) : 0.5);
    return {place, ticks: texts.map((text, index) => [text, texts.length > 1 ? index / (texts.length - 1) : 0.5])};
  }
  const f = axis.scale === "log" ? Math.log : Number,
    values = known.map(axis.get).filter(isNumber);
  const low = Math.min(...values),
    high = Math.max(...values);
  const place = value => (!isNumber(value) ? null : high > low ? (f(value) - f(low)) / (f(high) - f(low)) : 0.5);
  const middle = axis.scale === "log" ? Math.sqrt(low * high) : (low + high) / 2;
  return {place, ticks: (high > low ? [low, middle, high] : [low]).map(value => [num(value, 2), place(value)])};
}

function importances(search, name) {
  const known = search.parameters.filter(each => isNumber(each.importance)).sort((a, b) => b.importance - a.importance);
  if (!known.length) return null;
  const at =
    search.compared_at && search.compared_at !== "end"
      ? ` Compared at ${search.by} ${search.compared_at}, which all trials reached.`
      : "";
  return chart(
    `How much each parameter explains of ${name}`,
    `${search.importance}${at} From ${plural(search.trials.length, "trial")}.`,
    width =>
      plot(width, {
        height: 40 + 30 * known.length,
        marginLeft: Math.min(width * 0.4, 14 + 7 * Math.max(...known.map(each => each.label.length))),
        marginTop: 6,
        x: {domain: [0, 1], label: null, grid: true},
        y: {type: "band", domain: known.map(each => each.path), label: null, padding: 0.35},
        marks: [
          Plot.axisX({tickFormat: value => `${Math.round(100 * value)}%`, label: null, ticks: 4}),
          Plot.axisY({
            tickFormat: path => cut(known.find(each => each.path === path).label, 28),
            tickSize: 0,
            label: null,
          }),
          Plot.barX(known, {x: "importance", y: "path", fill: "var(--c0)"}),
          Plot.text(known, {
            x: "importance",
            y: "path",
            text: each => `${Math.round(100 * each.importance)}%`,
            dx: 6,
            textAnchor: "start",
            fill: "var(--ink)",
          }),
        ],
      }),
  ).figure;
}

/** Each trial in the order in which they ended, and the best until then. */
function progress(search, known, name, sign) {
  const ended = known.filter(trial => isNumber(trial.ended)).sort((a, b) => a.ended - b.ended || a.number - b.number);
  if (ended.length < 3) return null;
  const start = Math.min(...D.resources.runs.flatMap(run => run.spans.map(span => span[0])));
  let best = Infinity;
  const [unit, word] = timeUnit(ended.at(-1).ended - start);
  const points = ended.map(trial => ({
    trial,
    x: (trial.ended - start) / unit,
    y: trial.objectives[0].mean,
    best: sign * (best = Math.min(best, sign * trial.objectives[0].mean)),
  }));
  return chart(
    `Best ${name} over time`,
    "a dot for each trial when it last ended; the line is the best until then",
    width =>
      plot(width, {
        x: {nice: true},
        y: {label: null, grid: true, nice: true},
        marks: [
          Plot.axisX({label: `${word} since the start`, tickFormat: tick, ticks: Math.max(3, Math.floor(width / 100))}),
          Plot.axisY({label: null, ticks: 5, tickSize: 0, tickFormat: tick}),
          Plot.line(points, {x: "x", y: "best", stroke: "var(--c1)", strokeWidth: 2, curve: "step-after"}),
          Plot.dot(points, {x: "x", y: "y", fill: "var(--c0)", r: 3.5}),
          Plot.tip(points, Plot.pointer({x: "x", y: "y", title: point => trialTip(search, point.trial), ...tipStyle})),
        ],
      }),
  ).figure;
}

/** The objective of each trial at each rung that it reached: who was promoted, and who was not. */
function rungs(search, name, sign) {
  const points = search.trials.flatMap(trial =>
    trial.by_rung.filter(each => isNumber(each.mean)).map(each => ({trial, x: each.length, y: each.mean})),
  );
  const lengths = [...new Set(points.map(point => point.x))].sort((a, b) => a - b);
  if (search.rungs.length < 2 || lengths.length < 2) return null;
  const reached = search.rungs.map(rung => `${rung.trials} at ${rung.at === "end" ? "the end" : rung.at}`);
  return chart(`${name} at each rung`, `trials by ${search.by}: ${list(reached)}; the best in orange`, width =>
    plot(width, {
      x: {type: lengths.at(-1) / lengths[0] > 8 ? "log" : "linear", label: search.by, ticks: lengths},
      y: {label: null, grid: true, nice: true},
      marks: [
        Plot.axisX({ticks: lengths, tickFormat: tick, label: search.by}),
        Plot.axisY({label: null, ticks: 5, tickSize: 0, tickFormat: tick}),
        Plot.line(points, {
          x: "x",
          y: "y",
          z: point => point.trial.number,
          stroke: point => (isBest(search, point.trial) ? "var(--c1)" : "var(--c0)"),
          strokeOpacity: 0.7,
          strokeWidth: point => (isBest(search, point.trial) ? 2 : 1.2),
        }),
        Plot.dot(points, {
          x: "x",
          y: "y",
          fill: point => (isBest(search, point.trial) ? "var(--c1)" : "var(--c0)"),
          r: 3.5,
        }),
        Plot.tip(points, Plot.pointer({x: "x", y: "y", title: point => trialTip(search, point.trial), ...tipStyle})),
      ],
      color: {type: "identity"},
    }),
  ).figure;
}

/** Two objectives against each other, with the Pareto front. */
function frontChart(search, known) {
  if (search.objectives.length < 2) return null;
  const [one, other] = search.objectives,
    points = known.filter(trial => isNumber(trial.objectives[1]?.mean));
  const front = points
    .filter(trial => isBest(search, trial))
    .sort((a, b) => a.objectives[0].mean - b.objectives[0].mean);
  const x = trial => trial.objectives[0].mean,
    y = trial => trial.objectives[1].mean;
  return chart(
    `${short(other.metric)} against ${short(one.metric)}`,
    `the Pareto front in orange; ${one.mode} and ${other.mode} are good`,
    width =>
      plot(width, {
        x: {label: short(one.metric), grid: true, nice: true},
        y: {label: null, grid: true, nice: true},
        marks: [
          Plot.axisX({label: short(one.metric), tickFormat: tick}),
          Plot.axisY({label: null, tickSize: 0, tickFormat: tick}),
          Plot.line(front, {x, y, stroke: "var(--c1)", strokeWidth: 1.5}),
          Plot.dot(points, {x, y, fill: trial => (isBest(search, trial) ? "var(--c1)" : "var(--c0)"), r: 4}),
          Plot.tip(points, Plot.pointer({x, y, title: trial => trialTip(search, trial), ...tipStyle})),
        ],
        color: {type: "identity"},
      }),
  ).figure;
}

/** The spread over folds: fold by fold, as some folds are harder than others. */
function foldsSection() {
  const folds = [...new Set(D.runs.map(run => run.fold).filter(fold => fold !== null))].sort((a, b) => a - b);
  if (folds.length < 2) return null;
  const points = D.runs
    .map((run, number) => ({run, number, value: run.metrics[D.metric]}))
    .filter(point => point.run.counts && isNumber(point.value) && point.run.fold !== null);
  if (!points.length) return null;
  const name = short(D.metric);
  const bySeed = [...new Set(points.map(point => point.run.seed))];
  const variance = (key, values) => {
    const means = values
      .map(value => points.filter(point => point.run[key] === value).map(point => point.value))
      .filter(each => each.length)
      .map(mean);
    return Math.max(...means) - Math.min(...means);
  };
  return [
    chart(
      `${name} of each fold`,
      `a dot for each run, a line for the fold's mean; means of folds lie ${num(variance("fold", folds), 3)} apart${bySeed.length > 1 ? `, means of seeds ${num(variance("seed", bySeed), 3)}` : ""}`,
      width =>
        plot(width, {
          height: 46 + 30 * folds.length,
          marginLeft: 64,
          marginTop: 4,
          x: {label: null, grid: true, nice: true},
          y: {type: "band", domain: folds, padding: 0.3, label: null},
          marks: [
            Plot.axisX({label: null, tickFormat: tick}),
            Plot.axisY({label: null, tickSize: 0, tickFormat: fold => `fold ${fold}`}),
            Plot.tickX(
              folds.map(fold => ({
                fold,
                value: mean(points.filter(point => point.run.fold === fold).map(point => point.value)),
              })),
              {x: "value", y: "fold", stroke: "var(--soft)", strokeWidth: 2},
            ),
            Plot.dot(points, {
              x: "value",
              y: point => point.run.fold,
              fill: point => colours[point.run.group],
              fillOpacity: 0.7,
              r: 4,
            }),
            Plot.tip(
              points,
              Plot.pointer({
                x: "value",
                y: point => point.run.fold,
                title: point => `${D.runs[point.number].id}\n${num(point.value)}`,
                ...tipStyle,
              }),
            ),
          ],
          color: {type: "identity"},
        }),
      {wide: true},
    ).figure,
  ];
}
