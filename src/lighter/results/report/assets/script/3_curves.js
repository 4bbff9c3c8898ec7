// Curves: the mean of each group's runs with a band, or single runs; one chart for each logged value.

const BAND_MOST = 8; // groups with a band: more of them hide each other
const CHARTS_FIRST = 4;

function curvesSection() {
  const names = inOrder(Object.keys(D.curves));
  if (!names.length) return null;
  const state = {hidden: new Set(), single: false, log: false, smooth: 0};
  const hasGroups = D.groups.some(group => group.runs.length > 1);
  const shown = new Set(kept.read("curves", names.slice(0, CHARTS_FIRST)).filter(name => names.includes(name)));
  const grid = el("div", {class: "grid"});
  const all = new Map(
    names.map(name => [name, chart(short(name), direction(name), width => curveChart(name, width, state))]),
  );
  const redraw = () => names.filter(name => shown.has(name)).forEach(name => all.get(name).redraw());
  const lay = () => {
    grid.replaceChildren(...names.filter(name => shown.has(name)).map(name => all.get(name).figure));
    redraw();
  };
  const smoothing = el("output", {}, "off");
  const controls = el(
    "div",
    {class: "controls"},
    hasGroups &&
      choice(
        "Lines",
        [
          [false, "Mean of runs"],
          [true, "Single runs"],
        ],
        false,
        value => {
          state.single = value;
          redraw();
        },
      ),
    el(
      "label",
      {},
      el("input", {
        type: "checkbox",
        onchange: event => {
          state.log = event.target.checked;
          redraw();
        },
      }),
      "Log scale",
    ),
    el(
      "label",
      {},
      "Smoothing",
      el("input", {
        type: "range",
        min: 0,
        max: 0.95,
        step: 0.05,
        value: 0,
        "aria-label": "Smoothing",
        oninput: event => {
          state.smooth = Number(event.target.value);
          smoothing.textContent = state.smooth ? num(state.smooth, 2) : "off";
          redraw();
        },
      }),
      smoothing,
    ),
    names.length > 1 &&
      el(
        "details",
        {class: "menu"},
        el("summary", {}, `Curves: ${names.length}`),
        el(
          "div",
          {},
          names.map(name =>
            el(
              "label",
              {},
              el("input", {
                type: "checkbox",
                checked: shown.has(name),
                onchange: event => {
                  event.target.checked ? shown.add(name) : shown.delete(name);
                  kept.write("curves", [...shown]);
                  lay();
                },
              }),
              short(name),
            ),
          ),
        ),
      ),
  );
  grid.replaceChildren(...names.filter(name => shown.has(name)).map(name => all.get(name).figure));
  return [controls, D.groups.length > 1 && legend(state, redraw), grid, el("p", {class: "note"}, curveNote(hasGroups))];
}

/** Curves with what the page is about first, then its like in other modes; what an optimizer logs is last. */
function inOrder(names) {
  const weight = name =>
    (name === D.metric ? 0 : /^val\//.test(name) ? 1 : /^test\//.test(name) ? 2 : 3) +
    (/\/step$/.test(name) ? (/^train/.test(name) ? 2 : 5) : 0) +
    (isOfOptimizer(name) ? 6 : 0);
  return names.sort((a, b) => weight(a) - weight(b));
}

const isOfOptimizer = name => /optimizer|(^|\/)lr$/.test(name);
const direction = name => (isOfOptimizer(name) || !D.modes[name] ? null : goodness(D.modes[name]));

function curveNote(hasGroups) {
  const reduced = Object.values(D.curves)
    .flat()
    .filter(curve => curve.of);
  const words = [];
  if (hasGroups)
    words.push(
      "A line is the mean of a group's runs, where all of them have a value; its band goes from the lowest to the highest run.",
    );
  if (D.groups.length > PALETTE) words.push(`The best ${PALETTE} groups by ${short(D.metric ?? "")} have colours.`);
  if (reduced.length)
    words.push(
      `${plural(reduced.length, "curve")} with up to ${Math.max(...reduced.map(curve => curve.of)).toLocaleString("en-US")} values ${reduced.length === 1 ? "is" : "are"} reduced to the mean of equal spans of steps; for a single run, the shade goes from the lowest to the highest value of a span. All values are in metrics.csv of each run.`,
    );
  return words.join(" ");
}

function legend(state, redraw) {
  const coloured = ranked.filter(index => colours[index] !== "var(--rest)").sort((a, b) => a - b);
  const rest = ranked.filter(index => colours[index] === "var(--rest)");
  const chip = (label, indices, colour) => {
    const button = el(
      "button",
      {
        type: "button",
        "aria-pressed": true,
        style: {"--own": colour},
        onclick: () => {
          const hide = !state.hidden.has(indices[0]);
          indices.forEach(index => (hide ? state.hidden.add(index) : state.hidden.delete(index)));
          button.setAttribute("aria-pressed", !hide);
          redraw();
        },
      },
      label,
    );
    return button;
  };
  return el(
    "div",
    {class: "legend", role: "group", "aria-label": "Groups shown"},
    coloured.map(index => chip(groupLabel(index), [index], colours[index])),
    rest.length > 0 && chip(`${plural(rest.length, "other")}`, rest, "var(--rest)"),
  );
}

function groupLabel(index) {
  const group = D.groups[index];
  return group.runs.length > 1 ? `${group.label} (${group.runs.length} runs)` : group.label;
}

function curveChart(name, width, state) {
  const lines = [],
    bands = [];
  for (const [index, group] of D.groups.entries()) {
    if (state.hidden.has(index)) continue;
    const curves = D.curves[name].filter(curve => group.runs.includes(curve.run));
    if (!curves.length) continue;
    const own =
      state.single || curves.length === 1 ? curves.map(curve => single(curve, index)) : [together(curves, index)];
    for (const line of own) {
      const points = smoothed(line.points, state.smooth).filter(point => !state.log || point.y > 0);
      lines.push(...points.map(point => ({...point, z: `${index} ${line.run ?? ""}`, label: line.label, index})));
      const bounds = line.points.filter(point => isNumber(point.low) && (!state.log || point.low > 0));
      if (!state.smooth && bounds.length > 1)
        bands.push(...bounds.map(point => ({...point, z: `${index} ${line.run ?? ""}`, index})));
    }
  }
  const drawnBands = new Set(bands.map(point => point.z)).size <= BAND_MOST ? bands : [];
  lines.sort((a, b) => ranked.indexOf(b.index) - ranked.indexOf(a.index));
  const fewPoints = lines.length <= 60;
  return plot(width, {
    x: {nice: false},
    y: {type: state.log ? "log" : "linear", label: null, grid: true, nice: true},
    marks: [
      Plot.axisX({
        ticks: Math.max(3, Math.floor(width / 110)),
        tickFormat: step,
        label: "step",
        labelAnchor: "right",
        tickSize: 4,
      }),
      Plot.axisY({ticks: state.log ? 4 : 5, tickFormat: tick, tickSize: 0, label: null}),
      Plot.areaY(drawnBands, {
        x: "x",
        y1: "low",
        y2: "high",
        z: "z",
        fill: point => colours[point.index],
        fillOpacity: 0.16,
      }),
      Plot.line(lines, {x: "x", y: "y", z: "z", stroke: point => colours[point.index], strokeWidth: 1.6}),
      fewPoints && Plot.dot(lines, {x: "x", y: "y", fill: point => colours[point.index], r: 2.2}),
      Plot.dot(lines, Plot.pointer({x: "x", y: "y", fill: point => colours[point.index], r: 4, maxRadius: 30})),
      Plot.tip(
        lines,
        Plot.pointer({
          x: "x",
          y: "y",
          maxRadius: 30,
          title: point =>
            `${point.label}\nstep ${point.x.toLocaleString("en-US")}: ${num(point.y)}${isNumber(point.low) ? `  (${num(point.low)} to ${num(point.high)})` : ""}`,
          ...tipStyle,
        }),
      ),
    ].filter(Boolean),
    color: {type: "identity"},
  });
}

const step = value =>
  value >= 1e6 ? `${value / 1e6}M` : value >= 1e4 ? `${value / 1e3}k` : value.toLocaleString("en-US");

function single(curve, index) {
  const run = D.runs[curve.run];
  const points = curve.step.map((x, place) => ({
    x,
    y: curve.value[place],
    ...(curve.low ? {low: curve.low[place], high: curve.high[place]} : {}),
  }));
  const seeds =
    D.groups[index].runs.length > 1
      ? [run.seed !== null && `seed ${run.seed}`, run.fold !== null && `fold ${run.fold}`].filter(Boolean).join(", ")
      : "";
  return {
    run: curve.run,
    label: [D.groups[index].label, seeds].filter(Boolean).join(", "),
    points: points.filter(point => isNumber(point.y)),
  };
}

/** The mean of several runs at the steps that all of them have, with the lowest and the highest. */
function together(curves, index) {
  const at = new Map();
  for (const curve of curves)
    curve.step.forEach((x, place) => {
      if (isNumber(curve.value[place])) at.set(x, [...(at.get(x) ?? []), curve.value[place]]);
    });
  const points = [...at].filter(([, values]) => values.length >= curves.length).sort((a, b) => a[0] - b[0]);
  return {
    label: groupLabel(index),
    points: points.map(([x, values]) => ({x, y: mean(values), low: Math.min(...values), high: Math.max(...values)})),
  };
}

/** An exponential moving average that starts without a bias towards zero. */
function smoothed(points, weight) {
  if (!weight) return points;
  let sum = 0,
    total = 0;
  return points.map(point => {
    sum = sum * weight + point.y * (1 - weight);
    total = total * weight + (1 - weight);
    return {x: point.x, y: sum / total};
  });
}
