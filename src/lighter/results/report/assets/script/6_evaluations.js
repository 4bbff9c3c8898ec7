// What evaluations recorded: per-class values, confusion matrix, ROC, calibration, residuals, sheets of samples, pictures.

const MOST_CLASSES_OF_CURVES = 8;
const MOST_BESIDE = 10; // classes of a matrix that fits beside a table
const SHORT_HEAD = 5; // characters, which do not widen a column of counts

const runName = index =>
  D.groups.length > 1 || D.runs.length === 1
    ? `${D.groups[D.runs[index].group].label}${D.runs.length > 1 ? ` · ${D.runs[index].id}` : ""}`
    : D.runs[index].id;

function evaluationsSection() {
  if (!D.evaluations.length) return D.arrays.length ? el("div", {class: "grid"}, D.arrays.map(arrayFigure)) : null;
  const order = [...D.evaluations].sort((a, b) => (a.mode === "test" ? 0 : 1) - (b.mode === "test" ? 0 : 1));
  const place = el("div", {});
  const names = order.map(
    each =>
      `${each.mode === "test" ? "Test" : "Validation"}${each.dataloader ? `, dataloader ${each.dataloader}` : ""} · ${runName(each.run)}`,
  );
  const drawn = index =>
    place.replaceChildren(...[attempt("evaluation", () => evaluation(order[index], names[index]))].flat());
  const show = index => {
    drawn(index);
    charts.forEach(one => place.contains(one.figure) && one.redraw());
  };
  const picker =
    order.length > 1
      ? el("div", {class: "controls"}, el("label", {}, "Evaluation of", select("Evaluation", names, show)))
      : null;
  drawn(0);
  return [
    picker,
    place,
    attempt("table", disagreementsTable),
    D.arrays.length > 0 && el("div", {class: "grid"}, D.arrays.map(arrayFigure)),
  ];
}

function evaluation(each, name) {
  const facts = [
    each.samples && plural(each.samples, "sample"),
    isNumber(each.epoch) && `epoch ${each.epoch}`,
    isNumber(each.step) && `step ${each.step.toLocaleString("en-US")}`,
    each.left_out > 0 && `${each.left_out} left out`,
  ].filter(Boolean);
  return [
    tiles(
      Object.entries(each.metrics ?? {})
        .slice(0, 8)
        .map(([name, value]) => [short(name), num(value)]),
    ),
    el("p", {class: "soft"}, `${name}: ${facts.join(", ")}`),
    typeof each.mistake === "string" && el("p", {}, each.mistake),
    el("div", {class: "grid classes"}, classTable(each), confusion(each)),
    el(
      "div",
      {class: "grid"},
      rates(each.roc, "ROC curve", "fpr", "tpr", "false positive rate", "true positive rate", true),
      rates(each.precision_recall, "Precision and recall", "recall", "precision", "recall", "precision", false),
      calibration(each.calibration),
      residuals(each.residuals),
      errors(each.residuals),
    ),
    el("div", {class: "grid"}, (each.sheets ?? []).map(sheet)),
  ]
    .flat()
    .filter(
      node =>
        node &&
        !(node.classList?.contains("grid") && !node.childNodes.length) &&
        !(node.tagName === "DL" && !node.childNodes.length),
    );
}

/** The names of an evaluation's classes; their numbers where it has none. */
const classesOf = (each, rows) =>
  (Array.isArray(each.classes) ? each.classes : rows.map((_, index) => index)).map(String);

function classTable(each) {
  const values = each.per_class;
  if (!values || typeof values !== "object") return null;
  const names = Object.keys(values).filter(name => Array.isArray(values[name]));
  if (!names.length) return null;
  const classes = classesOf(each, values[names[0]]);
  const bar = value =>
    isNumber(value) &&
    value >= 0 &&
    value <= 1 &&
    el("span", {class: "bar", "aria-hidden": true}, el("i", {style: {width: `${100 * value}%`}}));
  const rows = classes.map((one, index) => [
    one,
    ...names.map(name =>
      name === "support"
        ? num(values[name][index])
        : [isNumber(values[name][index]) ? values[name][index].toFixed(3) : "–", bar(values[name][index])],
    ),
  ]);
  return el(
    "figure",
    {},
    el("figcaption", {}, el("h3", {}, "Each class"), el("p", {}, "support is the number of its samples")),
    table(["class", ...names], rows, {n: names.map((_, index) => index + 1), caption: "Values of each class"}),
  );
}

/** The confusion matrix: rows are targets, columns predictions, shaded by the share of the row. */
function confusion(each) {
  if (!isMatrix(each.confusion)) return null;
  const classes = classesOf(each, each.confusion);
  return el(
    "figure",
    {class: classes.length > MOST_BESIDE ? "full" : null},
    el(
      "figcaption",
      {},
      el("h3", {}, "Confusion matrix"),
      el("p", {}, "rows: target, columns: prediction; counts, shaded by the share of the row"),
    ),
    matrixTable(
      each.confusion,
      classes,
      "Confusion matrix",
      (target, predicted, count, share) =>
        `${count} of target ${classes[target]} predicted as ${classes[predicted]}: ${(100 * share).toFixed(1)}%`,
    ),
  );
}

const isMatrix = matrix => Array.isArray(matrix) && matrix.length > 1 && matrix.every(Array.isArray);

/** A matrix as a table, each cell shaded by its share of the row. */
function matrixTable(matrix, classes, title, tell) {
  const name = index => cut(String(classes[index] ?? index), 14),
    columns = matrix[0].map((_, index) => index),
    isSquare = columns.length === matrix.length,
    isNarrow = columns.every(index => !isSquare || name(index).length <= SHORT_HEAD);
  const rows = matrix.map((row, one) => {
    const total = row.reduce((sum, value) => sum + Math.max(value ?? 0, 0), 0) || 1;
    return el(
      "tr",
      {},
      el("th", {scope: "row", title: String(classes[one] ?? one)}, name(one)),
      row.map((value, other) => {
        const share = Math.max(value ?? 0, 0) / total;
        return el(
          "td",
          {
            class:
              [isSquare && one === other ? "right" : "", value ? "" : "zero", share > 0.55 ? "deep" : ""]
                .join(" ")
                .trim() || null,
            style: {"--share": String(Math.round(92 * share) / 100)},
            title: tell(one, other, value, share),
          },
          value ? num(value, 3) : "·",
        );
      }),
    );
  });
  return el(
    "div",
    {class: "scroll", style: {border: "0"}, tabindex: 0, role: "group", "aria-label": title},
    el(
      "table",
      {class: isNarrow ? "matrix" : "matrix upright"},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("th", {}),
          columns.map(index =>
            el(
              "th",
              {scope: "col", title: String(classes[index] ?? index)},
              el("span", {}, isSquare ? name(index) : String(index)),
            ),
          ),
        ),
      ),
      el("tbody", {}, rows),
    ),
  );
}

/** A matrix or a vector that a metric returned. */
function arrayFigure(each) {
  const title = each.name.replace(/^.*\//, ""),
    note = `${each.mode}, epoch ${each.epoch}, step ${num(each.step)}${D.runs.length > 1 ? `, ${runName(each.run)}` : ""}`;
  return el(
    "figure",
    {},
    el("figcaption", {}, el("h3", {}, `Metric ${title}`), el("p", {}, note)),
    isMatrix(each.values)
      ? matrixTable(
          each.values,
          [],
          title,
          (one, other, value, share) =>
            `${value} at row ${one}, column ${other}: ${(100 * share).toFixed(1)}% of the row`,
        )
      : table(
          ["", title],
          each.values.map((value, index) => [
            String(index),
            Array.isArray(value) ? value.map(one => num(one)).join(", ") : num(value),
          ]),
          {n: [1]},
        ),
  );
}

function rates(curves, title, x, y, xLabel, yLabel, diagonal) {
  if (!Array.isArray(curves) || !curves.length) return null;
  const known = curves.filter(curve => Array.isArray(curve?.[x]) && Array.isArray(curve[y]));
  if (!known.length) return null;
  // of many classes, the worst are worth looking at
  const score = curve => curve.auc ?? curve.ap ?? curve.average_precision ?? 1;
  const shown = [...known].sort((a, b) => score(a) - score(b)).slice(0, MOST_CLASSES_OF_CURVES);
  const colour = curve => `var(--c${shown.indexOf(curve) % PALETTE})`;
  const points = shown.flatMap(curve =>
    curve[x]
      .map((value, index) => ({curve, x: value, y: curve[y][index]}))
      .filter(point => isNumber(point.x) && isNumber(point.y)),
  );
  const note = [
    known.length > shown.length ? `the ${shown.length} worst of ${known.length} classes` : null,
    "area in brackets",
  ]
    .filter(Boolean)
    .join("; ");
  const one = chart(title, shown.some(curve => isNumber(score(curve))) ? note : null, width =>
    plot(width, {
      height: Math.min(width * 0.75, 340),
      marginTop: 26,
      x: {domain: [0, 1], label: xLabel, grid: true},
      y: {domain: [0, 1], label: null, grid: true},
      marks: [
        Plot.axisX({label: xLabel, ticks: 5}),
        Plot.axisY({label: `↑ ${yLabel}`, ticks: 5, tickSize: 0}),
        diagonal && Plot.link([0], {x1: 0, y1: 0, x2: 1, y2: 1, stroke: "var(--rest)", strokeDasharray: "4 4"}),
        Plot.line(points, {
          x: "x",
          y: "y",
          z: point => point.curve.class,
          stroke: point => colour(point.curve),
          strokeWidth: 1.6,
        }),
        Plot.tip(
          points,
          Plot.pointer({
            x: "x",
            y: "y",
            title: point => `class ${point.curve.class}\n${xLabel} ${num(point.x, 3)}, ${yLabel} ${num(point.y, 3)}`,
            ...tipStyle,
          }),
        ),
      ].filter(Boolean),
      color: {type: "identity"},
    }),
  );
  one.figure.append(
    el(
      "div",
      {class: "legend"},
      shown.map(curve =>
        el(
          "span",
          {class: "soft"},
          el("span", {
            style: {
              display: "inline-block",
              width: "14px",
              height: "3px",
              "border-radius": "2px",
              background: colour(curve),
              "margin-right": "6px",
              "vertical-align": "middle",
            },
          }),
          `${cut(String(curve.class), 20)}${isNumber(curve.auc) ? ` (${curve.auc.toFixed(3)})` : ""}  `,
        ),
      ),
    ),
  );
  return one.figure;
}

function calibration(each) {
  if (!each || !Array.isArray(each.confidence)) return null;
  const points = each.confidence
    .map((x, index) => ({x, y: each.accuracy?.[index], count: each.count?.[index]}))
    .filter(point => isNumber(point.x) && isNumber(point.y) && point.count !== 0);
  const most = Math.max(...points.map(point => point.count ?? 1), 1);
  return chart(
    "Calibration",
    `expected calibration error ${num(each.ece, 3)}; on the dashed line confidence is as good as it says; the size of a dot is the number of samples`,
    width =>
      plot(width, {
        height: Math.min(width * 0.75, 340),
        marginTop: 26,
        x: {domain: [0, 1], label: "confidence", grid: true},
        y: {domain: [0, 1], label: null, grid: true},
        marks: [
          Plot.axisX({label: "confidence", ticks: 5}),
          Plot.axisY({label: "↑ accuracy", ticks: 5, tickSize: 0}),
          Plot.link([0], {x1: 0, y1: 0, x2: 1, y2: 1, stroke: "var(--rest)", strokeDasharray: "4 4"}),
          Plot.line(points, {x: "x", y: "y", stroke: "var(--c0)", strokeWidth: 1.4}),
          Plot.dot(points, {
            x: "x",
            y: "y",
            fill: "var(--c0)",
            r: point => 2.5 + 7 * Math.sqrt((point.count ?? 1) / most),
            fillOpacity: 0.75,
          }),
          Plot.tip(
            points,
            Plot.pointer({
              x: "x",
              y: "y",
              title: point =>
                `confidence ${num(point.x, 3)}, accuracy ${num(point.y, 3)}\n${point.count === undefined ? "" : plural(point.count, "sample")}`,
              ...tipStyle,
            }),
          ),
        ],
        r: {type: "identity"},
      }),
  ).figure;
}

const pairs = each =>
  each && Array.isArray(each.target) && Array.isArray(each.prediction)
    ? each.target
        .map((x, index) => ({x, y: each.prediction[index]}))
        .filter(point => isNumber(point.x) && isNumber(point.y))
    : [];

function residuals(each) {
  const points = pairs(each);
  if (points.length < 2) return null;
  const low = Math.min(...points.map(point => Math.min(point.x, point.y))),
    high = Math.max(...points.map(point => Math.max(point.x, point.y)));
  const facts = ["r2", "rmse", "mae"]
    .filter(name => isNumber(each[name]))
    .map(name => `${{r2: "R²", rmse: "RMSE", mae: "MAE"}[name]} ${num(each[name])}`);
  return chart("Prediction against target", `${facts.join(", ")}; on the dashed line they are equal`, width =>
    plot(width, {
      height: Math.min(width * 0.75, 360),
      marginTop: 26,
      x: {domain: [low, high], nice: true, label: "target", grid: true},
      y: {domain: [low, high], nice: true, label: null, grid: true},
      marks: [
        Plot.axisX({label: "target", tickFormat: tick}),
        Plot.axisY({label: "↑ prediction", tickSize: 0, tickFormat: tick}),
        Plot.link([0], {x1: low, y1: low, x2: high, y2: high, stroke: "var(--soft)", strokeDasharray: "4 4"}),
        Plot.dot(points, {x: "x", y: "y", fill: "var(--c0)", fillOpacity: points.length > 300 ? 0.35 : 0.65, r: 2.6}),
        Plot.tip(
          points,
          Plot.pointer({
            x: "x",
            y: "y",
            title: point => `target ${num(point.x)}\nprediction ${num(point.y)}`,
            ...tipStyle,
          }),
        ),
      ],
    }),
  ).figure;
}

function errors(each) {
  const points = pairs(each);
  if (points.length < 2) return null;
  return chart(
    "Error against target",
    "prediction − target; a slope or a funnel is an error that could be learned",
    width =>
      plot(width, {
        height: Math.min(width * 0.75, 360),
        marginTop: 26,
        x: {nice: true, label: "target", grid: true},
        y: {nice: true, label: null, grid: true},
        marks: [
          Plot.axisX({label: "target", tickFormat: tick}),
          Plot.axisY({label: "↑ error", tickSize: 0, tickFormat: tick}),
          Plot.ruleY([0], {stroke: "var(--soft)"}),
          Plot.dot(points, {
            x: "x",
            y: point => point.y - point.x,
            fill: "var(--c1)",
            fillOpacity: points.length > 300 ? 0.35 : 0.65,
            r: 2.6,
          }),
        ],
      }),
  ).figure;
}

function sheet(one) {
  const samples = Array.isArray(one.samples) ? one.samples : [];
  const names = [...new Set(samples.flatMap(sample => Object.keys(sample)))].filter(name =>
    samples.some(sample => typeof sample[name] !== "object"),
  );
  const title = {worst: "The worst samples", best: "The best samples"}[one.name] ?? `Samples: ${one.name}`;
  if (!one.image && !samples.length) return null;
  const rows = samples.map(sample => names.map(name => valueText(sample[name])));
  return el(
    "figure",
    {class: "sheet"},
    el("figcaption", {}, el("h3", {}, title), el("p", {}, "by the score of each sample; higher is better")),
    one.image &&
      el("img", {
        src: one.image,
        alt: `${title}: ${samples.map(sample => `${sample.index}`).join(", ")}`,
      }),
    samples.length > 0 &&
      (one.image
        ? el("details", {class: "more"}, el("summary", {}, `Table of these ${samples.length}`), table(names, rows))
        : table(names, rows)),
  );
}

function disagreementsTable() {
  return D.disagreements.map(each =>
    el(
      "figure",
      {class: "wide"},
      el(
        "figcaption",
        {},
        el("h3", {}, `Samples on which the first two groups differ most (${each.mode})`),
        el(
          "p",
          {},
          `scores of ${runName(each.runs[0])} and ${runName(each.runs[1])} on ${each.shared.toLocaleString("en-US")} shared samples; higher is better`,
        ),
      ),
      table(
        ["sample", "target", "prediction of the first", "of the second", "score of the first", "of the second"],
        each.samples.map(sample => [
          num(sample.index),
          valueText(sample.target),
          ...sample.predictions.map(valueText),
          ...sample.scores.map(score => num(score)),
        ]),
        {n: [4, 5]},
      ),
    ),
  );
}

function picturesSection() {
  if (!D.pictures.length) return null;
  const byRun = Map.groupBy
    ? Map.groupBy(D.pictures, picture => picture.run)
    : D.pictures.reduce((map, picture) => map.set(picture.run, [...(map.get(picture.run) ?? []), picture]), new Map());
  return [...byRun].map(([run, pictures]) => {
    const image = el("img", {}),
      words = el("p", {}),
      rows = el("div", {});
    const show = index => {
      const one = pictures[index];
      image.src = one.image;
      image.alt = `Logged picture ${one.file}`;
      words.textContent = `${one.mode ?? ""}, epoch ${one.epoch ?? "–"}, step ${num(one.step)}`;
      rows.replaceChildren(
        Array.isArray(one.rows)
          ? el(
              "details",
              {class: "more"},
              el("summary", {}, "Targets and predictions"),
              table(
                ["sample", "target", "prediction"],
                one.rows.map(row => [valueText(row?.index), valueText(row?.target), valueText(row?.prediction)]),
              ),
            )
          : "",
      );
    };
    show(pictures.length - 1);
    return el(
      "figure",
      {class: "wide sheet"},
      el("figcaption", {}, el("h3", {}, runName(run)), words),
      pictures.length > 1 &&
        el(
          "div",
          {class: "controls"},
          el(
            "label",
            {},
            "Epoch",
            el("input", {
              type: "range",
              min: 0,
              max: pictures.length - 1,
              value: pictures.length - 1,
              "aria-label": "Picture of epoch",
              oninput: event => show(Number(event.target.value)),
            }),
          ),
        ),
      image,
      rows,
    );
  });
}
