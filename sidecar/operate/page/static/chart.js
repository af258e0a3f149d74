// Pictures of the last minutes: hand-drawn SVG with a title and a description, and the same as a table.

import { make, setText } from "./dom.js";
import { clock, count, rate } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 300;
const HEIGHT = 60;
const SHORTEST_MS = 60000;

function draw(tag, attributes = {}) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// The figure of some columns of the history. `lines`: [{column, label, style}]; `format` writes a value.
export function chart(id, title, lines, format) {
  const svg = draw("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    role: "img",
    "aria-labelledby": `${id}-t ${id}-d`,
  });
  const named = draw("title", { id: `${id}-t` });
  named.textContent = title;
  const described = draw("desc", { id: `${id}-d` });
  const shapes = lines.map(({ style }) => draw("path", { class: style }));
  svg.append(named, described, ...shapes);
  const legend = make("p", { class: "legend" });
  const texts = lines.map(({ label, style }) => {
    const value = make("strong");
    legend.append(make("span", { class: `key ${style}`, "aria-hidden": "true" }), `${label} `, value, " ");
    return value;
  });
  const top = make("span", { class: "quiet" });
  legend.append(top);
  const begin = make("span");
  const axis = make("p", { class: "axis quiet" }, begin, make("span", {}, "now"));
  const figure = make("figure", { class: "chart" }, make("figcaption", {}, title), legend, svg, axis);

  figure.redraw = (history, rows) => {
    const columns = lines.map(({ column }) => history.columns.indexOf(column));
    const most = Math.max(...rows.flatMap((row) => columns.map((one) => row[one])));
    const last = rows.at(-1);
    const span = Math.max(SHORTEST_MS, last[0] - rows[0][0]);
    const ago = span < 120000 ? `${Math.round(span / 1000)} s` : `${Math.round(span / 60000)} min`;
    setText(begin, `${ago} ago`);
    const place = (row, column) => {
      const x = WIDTH - ((last[0] - row[0]) / span) * WIDTH;
      return `${x.toFixed(1)},${(HEIGHT - 1 - (row[column] / Math.max(1, most)) * (HEIGHT - 3)).toFixed(1)}`;
    };
    columns.forEach((column, index) => {
      const points = rows.map((row) => place(row, column));
      let path = `M${points.join("L")}`;
      if (lines[index].style === "area") {
        path += `L${WIDTH},${HEIGHT}L${points[0].split(",")[0]},${HEIGHT}Z`;
      }
      shapes[index].setAttribute("d", path);
      setText(texts[index], format(last[column]));
    });
    setText(top, `· at most ${format(most)}`);
    const now = lines.map(({ label }, index) => `${label} ${format(last[columns[index]])}`).join(", ");
    setText(described, `Now: ${now}. At most ${format(most)} in the last ${ago}.`);
  };
  return figure;
}

// The same numbers as a table with a row for each minute. It is filled only while it is open.
export function historyTable() {
  const body = make("tbody");
  const head = ["Time", "Lag", "Sent/s", "Done/s"].map((text) => make("th", { scope: "col" }, text));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...head)), body);
  const details = make("details", { class: "history" }, make("summary", {}, "The last minutes as a table"), table);
  let latest = null;
  const fill = () => {
    if (!details.open || latest === null) return;
    const minutes = new Map(latest.map((row) => [Math.floor(row[0] / 60000), row]));
    const rows = [...minutes.values()].reverse().map(([at, lag, sent, done]) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, clock(at)),
        ...[count(lag), rate(sent), rate(done)].map((text) => make("td", {}, text)),
      ),
    );
    body.replaceChildren(...rows);
  };
  details.addEventListener("toggle", fill);
  details.redraw = (rows) => {
    latest = rows;
    fill();
  };
  return details;
}
