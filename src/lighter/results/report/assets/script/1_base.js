// Elements, numbers, colours, and charts that follow the width of the page. All text goes through text nodes: names and
// values of runs are anybody's, and none of them is ever read as HTML.
//
// Formatted by: npx prettier@3 --print-width 120 --arrow-parens avoid --bracket-spacing=false

const D = JSON.parse(document.getElementById("lighter-report").textContent);
const PALETTE = 8;

/** Make an element: `el("td", {class: "n"}, "0.12")`; a handler is `onclick`, null attributes are left out. */
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || (value === false && !name.startsWith("aria-"))) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else node.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : value);
  }
  node.append(...children.flat(3).filter(child => child !== null && child !== undefined && child !== false));
  return node;
}

const isNumber = value => typeof value === "number" && Number.isFinite(value);

/** A number with four significant digits, as tables of papers have it. */
function num(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (!isNumber(value)) return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e15)
    return Math.abs(value) < 1e4 ? String(value) : value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3)
    return value
      .toExponential(digits - 1)
      .replace("e+", "e")
      .replace(/\.?0+e/, "e");
  return String(+value.toPrecision(digits));
}

/** Seconds as `2 h 05 min`. */
function duration(seconds) {
  if (!isNumber(seconds)) return "–";
  if (seconds < 60) return `${seconds < 10 ? +seconds.toFixed(1) : Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${String(minutes % 60).padStart(2, "0")} min` : `${(hours / 24).toFixed(1)} days`;
}

/** The unit of an axis of time, in seconds, and its name. */
const timeUnit = seconds => (seconds > 7200 ? [3600, "hours"] : seconds > 120 ? [60, "minutes"] : [1, "seconds"]);

const plural = (count, noun) => `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
const short = name => name.replace(/\/epoch$/, "");
const cut = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
const list = words => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);
const mean = values => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The last value of a metric of each run of a group that has a result; a text if it is not finite. */
const resultsOf = (group, metric) =>
  group.runs
    .filter(index => D.runs[index].counts)
    .map(index => D.runs[index].metrics[metric])
    .filter(value => value !== undefined && value !== null);
const valuesOf = (group, metric) => resultsOf(group, metric).filter(isNumber);
/** The mean of a group; null where there is none, as one of its runs diverged. */
const meanOf = (group, metric) => {
  const values = resultsOf(group, metric);
  return values.length && values.every(isNumber) ? mean(values) : null;
};

/** The numbers of groups, the best by the page's metric first, those without it last. */
const ranked = (() => {
  const sign = D.mode === "max" ? -1 : 1;
  const known = D.groups.map((group, index) => [index, meanOf(group, D.metric)]);
  const score = value => (value === null ? Infinity : sign * value);
  return known.sort((a, b) => (a[1] === b[1] ? 0 : score(a[1]) - score(b[1])) || a[0] - b[0]).map(([index]) => index);
})();

/** A colour for each of the best groups, and one for all others. */
const colours = D.groups.map((_, index) => {
  const place = D.groups.length <= PALETTE ? index : ranked.indexOf(index);
  return place < PALETTE ? `var(--c${place})` : "var(--rest)";
});

/** A sentence whose names stand in backticks, as a list of texts and emphasized names. */
const named = text =>
  String(text)
    .split("`")
    .map((part, index) => (index % 2 ? el("strong", {}, part) : part));
/** A path of the config that may break where it has steps. */
const pathText = path =>
  el(
    "span",
    {class: "code"},
    path.split("::").flatMap((part, index) => (index ? ["::", el("wbr"), part] : [part])),
  );
const goodness = mode => (mode === "max" ? "higher is better" : "lower is better");

/** What `draw` returns; where it fails, as files of evaluations may be anybody's, a sentence in its place. */
function attempt(what, draw) {
  try {
    return draw();
  } catch (error) {
    return el("p", {class: "error"}, `This ${what} could not be drawn: ${error.message}`);
  }
}

const charts = [];
/** A figure with a title and a chart that `draw(width)` returns; it is drawn anew when its width changes. */
function chart(title, note, draw, {wide = false} = {}) {
  const place = el("div", {});
  const figure = el(
    "figure",
    {class: wide ? "wide" : null},
    el("figcaption", {}, el("h3", {}, title), note && el("p", {}, note)),
    place,
  );
  let drawn = 0;
  const redraw = (force = true) => {
    const width = Math.floor(figure.getBoundingClientRect().width) || 520;
    if (!force && width === drawn) return;
    drawn = width;
    place.replaceChildren(
      attempt("chart", () => {
        const svg = draw(width);
        svg.setAttribute("role", "img");
        svg.setAttribute("aria-label", title);
        return svg;
      }),
    );
  };
  const one = {figure, redraw};
  charts.push(one);
  return one;
}

/** The options that all charts share. */
function plot(width, options) {
  return Plot.plot({
    width,
    height: Math.round(Math.min(Math.max(width * 0.55, 200), 300)),
    marginLeft: 58,
    marginRight: 14,
    marginTop: 14,
    marginBottom: 38,
    style: {background: "transparent", color: "var(--soft)", fontSize: "12px", overflow: "visible"},
    ...options,
  });
}

const tipStyle = {fill: "var(--ground)", stroke: "var(--soft)", strokeOpacity: 0.5, fontSize: 12, lineHeight: 1.35};
const yGrid = (ticks = 5) => Plot.axisY({anchor: "left", label: null, ticks, tickSize: 0, tickFormat: tick});
/** A number of an axis, with as many digits as tell it from the next one. */
function tick(value, _, ticks) {
  const numbers = Array.isArray(ticks) ? ticks.filter(isNumber) : [];
  const steps = numbers
    .slice(1)
    .map((each, index) => Math.abs(each - numbers[index]))
    .filter(Boolean);
  const digits = steps.length ? Math.ceil(Math.log10(Math.abs(value) / Math.min(...steps))) + 1 : 3;
  return num(value, Math.min(Math.max(digits, 3), 12));
}

const sections = [];
/** A section of the page with an entry in its navigation. */
function section(id, title, draw) {
  const content = [attempt("section", draw)].flat(4).filter(node => node && !isEmptyGrid(node));
  if (!content.length) return;
  sections.push({id, title});
  document
    .querySelector("main")
    .append(el("section", {id, "aria-labelledby": `${id}-title`}, el("h2", {id: `${id}-title`}, title), content));
}
const isEmptyGrid = node => node.classList?.contains("grid") && !node.childNodes.length;

/** A table of plain rows. A cell is a text, a node, or `{text, class}`; numbers are right-aligned by `n`. */
function table(heads, rows, {n = [], wrap = false, caption = null} = {}) {
  const side = index => (n.includes(index) ? "n" : "");
  const cell = (value, index) => {
    const own = value !== null && typeof value === "object" && !(value instanceof Node) && !Array.isArray(value);
    return el(
      "td",
      {class: `${side(index)} ${own ? (value.class ?? "") : ""}`.trim() || null},
      own ? value.text : value,
    );
  };
  return el(
    "div",
    {class: `scroll${wrap ? " wrap" : ""}`, tabindex: 0, role: "group", "aria-label": caption ?? heads.join(", ")},
    el(
      "table",
      {},
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          heads.map((head, index) => el("th", {scope: "col", class: side(index) || null}, head)),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map(row => el("tr", {}, row.map(cell))),
      ),
    ),
  );
}

const tiles = pairs =>
  el(
    "dl",
    {class: "tiles"},
    pairs.map(([name, value, note]) =>
      el("div", {}, el("dt", {}, name), el("dd", {}, value, note && el("small", {}, note))),
    ),
  );

/** Buttons of which one is pressed. */
function choice(label, options, chosen, change) {
  const buttons = options.map(([value, text]) =>
    el(
      "button",
      {
        type: "button",
        "aria-pressed": value === chosen,
        onclick: () => {
          buttons.forEach((button, index) => button.setAttribute("aria-pressed", options[index][0] === value));
          change(value);
        },
      },
      text,
    ),
  );
  return el("span", {class: "choice", role: "group", "aria-label": label}, buttons);
}

function select(label, options, change) {
  const box = el(
    "select",
    {"aria-label": label, onchange: () => change(Number(box.value))},
    options.map((text, index) => el("option", {value: index}, cut(text, 90))),
  );
  return box;
}

/** What the reader chose, which outlives the reload of a page that is watched. */
const kept = {
  read(name, otherwise) {
    try {
      return JSON.parse(sessionStorage.getItem(`${location.pathname}#${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  write(name, value) {
    try {
      sessionStorage.setItem(`${location.pathname}#${name}`, JSON.stringify(value));
    } catch {
      /* not from every disk */
    }
  },
};
