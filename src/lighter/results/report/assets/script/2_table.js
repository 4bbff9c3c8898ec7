// The table of runs: filter, sort, chosen columns. Only the rows in view are in the document, so that 10,000 runs are as
// quick as ten.

const ROW = 32; // pixels, as the style sheet has it
const MOST_METRICS_SHOWN = 4;

function runsTable() {
  const {columns, rows} = D.table;
  if (rows.length < 2) return null;
  const texts = rows.map(row =>
    row
      .map(value => value ?? "")
      .join("\u0001")
      .toLowerCase(),
  );
  const shownCell = columns.map(
    column =>
      ({
        number: value => num(value),
        metric: value => num(value),
        seconds: duration,
        value: valueText,
        status: value => el("span", {class: `status ${/^[a-z]+$/.test(value) ? value : ""}`}, value),
        date: value => String(value ?? "").replace("T", " "),
      })[column.kind] ?? (value => String(value ?? "")),
  );
  const isRight = columns.map(
    (column, index) => column.kind !== "date" && column.kind !== "status" && rows.some(row => isNumber(row[index])),
  );
  const statusAt = columns.findIndex(column => column.kind === "status");
  const isResult = row => ["finished", "paused"].includes(row[statusAt]);
  const best = columns.map((column, index) =>
    column.kind === "metric" ? bestOf(rows.filter(isResult), index, D.modes[column.path]) : null,
  );
  const isBestOf = (index, number) =>
    best[index] !== null && best[index] === rows[number][index] && isResult(rows[number]);
  let seen = 0;
  const visible = columns.map(column =>
    column.kind === "metric"
      ? seen++ < MOST_METRICS_SHOWN
      : !["number", "text", "value"].includes(column.kind) ||
        new Set(rows.map(row => row[columns.indexOf(column)])).size > 1,
  );
  let order = rows.map((_, index) => index),
    sorted = null,
    wanted = "";

  const head = el("tr", {}),
    body = el("tbody", {});
  const box = el(
    "div",
    {class: "scroll rows", tabindex: 0, role: "group", "aria-label": "Runs"},
    el("table", {"aria-rowcount": rows.length}, el("thead", {}, head), body),
  );
  const count = el("span", {role: "status"});
  const filter = el("input", {
    type: "search",
    placeholder: "Filter: words, or loss<0.3 status=failed",
    "aria-label": "Filter runs",
    oninput: () => {
      wanted = filter.value;
      kept.write("filter", wanted);
      update();
    },
  });
  const menu = el(
    "details",
    {class: "menu"},
    el("summary", {}, "Columns"),
    el(
      "div",
      {},
      columns.map((column, index) =>
        el(
          "label",
          {},
          el("input", {
            type: "checkbox",
            checked: visible[index],
            onchange: event => {
              visible[index] = event.target.checked;
              drawHead();
              drawRows(true);
            },
          }),
          column.name,
        ),
      ),
    ),
  );
  menu.addEventListener("keydown", event => {
    if (event.key === "Escape") {
      menu.open = false;
      menu.firstChild.focus();
    }
  });

  function drawHead() {
    head.replaceChildren(
      ...columns.flatMap((column, index) =>
        visible[index]
          ? [
              el(
                "th",
                {
                  scope: "col",
                  class: isRight[index] ? "n" : null,
                  "aria-sort": sorted?.index === index ? (sorted.sign > 0 ? "ascending" : "descending") : "none",
                  title: column.path ?? null,
                },
                el("button", {type: "button", onclick: () => sort(index)}, column.name),
              ),
            ]
          : [],
      ),
    );
  }
  function sort(index) {
    const first = columns[index].kind === "metric" && D.modes[columns[index].path] === "max" ? -1 : 1;
    sorted = sorted?.index === index ? (sorted.sign === first ? {index, sign: -first} : null) : {index, sign: first};
    drawHead();
    update();
    [...head.children]
      .find(cell => cell.getAttribute("aria-sort") !== "none")
      ?.querySelector("button")
      .focus();
  }
  function update() {
    const holds = conditions(wanted, columns, texts, rows);
    order = rows.map((_, index) => index).filter(holds);
    if (sorted) order.sort((a, b) => compare(rows[a][sorted.index], rows[b][sorted.index], sorted.sign) || a - b);
    count.textContent =
      order.length === rows.length
        ? plural(rows.length, "run")
        : `${order.length.toLocaleString("en-US")} of ${plural(rows.length, "run")}`;
    box.scrollTop = 0;
    drawRows(true);
  }
  let drawn = "";
  function drawRows(force, most = Math.ceil(430 / ROW)) {
    const start = Math.max(0, Math.floor(box.scrollTop / ROW) - 10),
      end = Math.min(order.length, start + most + 22);
    if (!force && drawn === `${start} ${end}`) return;
    drawn = `${start} ${end}`;
    const gap = number =>
      number > 0 && el("tr", {class: "gap", "aria-hidden": true}, el("td", {style: {height: `${number * ROW}px`}}));
    body.replaceChildren(
      ...[
        gap(start),
        ...order.slice(start, end).map((number, place) =>
          el(
            "tr",
            {"aria-rowindex": start + place + 1},
            rows[number].flatMap((value, index) =>
              visible[index]
                ? [
                    el(
                      "td",
                      {
                        class:
                          [isRight[index] ? "n" : "", isBestOf(index, number) ? "best" : ""].join(" ").trim() || null,
                        title: index === 0 ? value : null,
                      },
                      shownCell[index](value),
                    ),
                  ]
                : [],
            ),
          ),
        ),
        gap(order.length - end),
      ].filter(Boolean),
    );
    if (!order.length)
      body.replaceChildren(
        el(
          "tr",
          {},
          el(
            "td",
            {colspan: columns.length},
            "No run has that. Words are looked for in all columns; a condition is NAME<0.3.",
          ),
        ),
      );
  }
  box.addEventListener("scroll", () => drawRows(false), {passive: true});
  addEventListener("beforeprint", () => {
    box.scrollTop = 0;
    drawRows(true, 40);
  });
  filter.value = wanted = kept.read("filter", "");
  drawHead();
  update();
  return [
    el("div", {class: "controls"}, filter, menu, count),
    box,
    el(
      "p",
      {class: "note"},
      "Metrics are the last values of each run",
      best.some(value => value !== null) ? "; the best of a column is bold, of those that finished." : ".",
    ),
  ];
}

const valueText = value =>
  value === null || value === undefined
    ? "–"
    : isNumber(value)
      ? num(value)
      : cut(typeof value === "string" ? value : JSON.stringify(value), 60);

function bestOf(rows, index, mode) {
  const values = rows.map(row => row[index]).filter(isNumber);
  if (new Set(values).size < 2) return null;
  return values.reduce((one, other) => ((mode === "max" ? other > one : other < one) ? other : one));
}

function compare(one, other, sign) {
  const missing = value => value === null || value === undefined || value === "";
  if (missing(one) || missing(other)) return missing(one) - missing(other); // last in both directions
  return (
    sign *
    (isNumber(one) && isNumber(other) ? one - other : String(one).localeCompare(String(other), "en", {numeric: true}))
  );
}

/** A function that tells whether a row has all words, and holds all conditions such as `loss<0.3`. */
function conditions(text, columns, texts, rows) {
  const tests = text
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .map(word => {
      const parts = word.match(/^(.+?)(<=|>=|!=|=|<|>|:)(.+)$/);
      const index = parts ? columnOf(parts[1], columns) : -1;
      if (index < 0) return row => texts[row].includes(word);
      const [, , sign, wanted] = parts,
        number = Number(wanted);
      return row => {
        const value = rows[row][index];
        if (sign === ":" || Number.isNaN(number)) {
          const same =
            sign === ":"
              ? String(value ?? "")
                  .toLowerCase()
                  .includes(wanted)
              : String(value ?? "").toLowerCase() === wanted;
          return sign === "!=" ? !same : same;
        }
        if (!isNumber(value)) return false;
        return {
          "<": value < number,
          ">": value > number,
          "<=": value <= number,
          ">=": value >= number,
          "=": value === number,
          "!=": value !== number,
        }[sign];
      };
    });
  return row => tests.every(test => test(row));
}

function columnOf(name, columns) {
  const names = columns.map(column => column.name.toLowerCase());
  const exact = names.indexOf(name);
  return exact >= 0 ? exact : names.findIndex(each => each.endsWith(name) || each.split(/[/:]/).includes(name));
}
