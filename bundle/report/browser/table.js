// The table of all cases and organs.
const PAGE_LINES = 200;
const PLACE = { volume: 1, dice: 2, low: 3, high: 4, flagged: 5 };
const body = document.querySelector("#results-table tbody");
const view = { column: null, down: false, text: "", organ: "", flagged: false, most: PAGE_LINES, open: data.open || null };
const caseOf = new Map(data.cases.map((entry) => [entry.key, entry]));
// What holds for an organ in all cases is told once, before them.
const allCases = {
  id: "all cases", key: null, role: "all", map: null,
  lines: data.common.map(([organ, texts]) => [organ, null, null, null, null, 1, texts]),
};
const commonTexts = new Map(data.common);
const lines = [allCases, ...data.cases].flatMap((entry, place) => entry.lines.map((line) => ({ entry, line, place })));

function organOf(line) {
  return line[0] < 0 ? "whole volume" : data.classes[line[0]].spoken;
}

function reasonsOf(line) {
  return line[6].map((number) => data.texts[number]);
}

function sortValue(one, column) {
  if (column === "case") return one.entry.id;
  if (column === "organ") return organOf(one.line);
  if (column === "why") return reasonsOf(one.line).join(" ");
  return one.line[PLACE[column]];
}

function compare(a, b) {
  if (a === b) return 0;
  if (typeof a === "string") return a.localeCompare(b, undefined, { numeric: true });
  return a < b ? -1 : 1;
}

// What the filters leave, in the order asked for; without one, as the cases were ranked. Unknown values come last.
function chosenLines() {
  const words = view.text.toLowerCase().split(/\s+/).filter((word) => word);
  const chosen = lines.filter(({ entry, line }) => {
    if (view.flagged && !line[5]) return false;
    if (view.organ !== "" && String(line[0]) !== view.organ) return false;
    const told = [entry.id, entry.role, organOf(line), ...reasonsOf(line)].join(" ").toLowerCase();
    return words.every((word) => told.includes(word));
  });
  if (view.column === null) return chosen;
  const sign = view.down ? -1 : 1;
  const keyed = chosen.map((one) => [sortValue(one, view.column), one]);
  keyed.sort(([a, one], [b, other]) => {
    if (a === null || b === null) return a === b ? one.place - other.place : a === null ? 1 : -1;
    return sign * compare(a, b) || one.place - other.place;
  });
  return keyed.map(([, one]) => one);
}

function shownNumber(value, digits) {
  return value === null ? "" : value.toFixed(digits);
}

function volumeText(value) {
  return value === 0 ? "empty" : shownNumber(value, value !== null && value < 10 ? 1 : 0);
}

function lineRow({ entry, line }) {
  const [place, volume, dice, low, high, flagged] = line;
  const badge = entry.role === "unlabelled" || entry === allCases ? null : element("span", { class: "badge" }, entry.role);
  const name = entry.key === null ? element("span", { class: "case" }, entry.id) : element("button", {
    type: "button", class: "case", "aria-expanded": String(view.open === entry.key),
    onclick: () => openCase(view.open === entry.key ? null : entry.key, place),
  }, entry.id);
  const colour = place < 0 ? null : element("span", { class: "swatch" });
  if (colour) colour.style.background = data.classes[place].colour;
  const told = reasonsOf(line);
  if (flagged && dice !== null && entry !== allCases && commonTexts.has(place)) told.push("as in all cases");
  const why = element("ul", {}, ...told.map((text) => element("li", {}, text)));
  const cells = [
    ["Case", name, " ", element("span", { class: "tick-mark", "data-case": entry.key }, tickMark(entry)), badge],
    ["Organ", element("span", { class: "organ" }, colour, organOf(line))],
    ["Volume, ml", volumeText(volume)],
    ["Predicted Dice", shownNumber(dice, 2)],
    ["From", shownNumber(low, 2)],
    ["To", shownNumber(high, 2)],
    ["Flagged", flagged ? element("span", { class: "flag" }, "flagged") : ""],
    ["Why", told.length ? why : ""],
  ];
  const known = (part) => part !== null && part !== "";
  return element("tr", { class: flagged ? "flagged-line" : null }, ...cells.map(([title, ...content]) => element(
    "td", { "data-title": title, class: content.some(known) ? null : "nothing" },
    ...content,
  )));
}

// The rows; those of the open case stand together, all of them, with its panel below.
function showTable() {
  const chosen = chosenLines();
  const rows = [];
  let opened = false;
  for (const one of chosen.slice(0, view.most)) {
    if (one.entry.key !== null && one.entry.key === view.open) {
      if (!opened) rows.push(...openRows(one.entry));
      opened = true;
    } else {
      rows.push(lineRow(one));
    }
  }
  if (!opened && view.open !== null) rows.unshift(...openRows(caseOf.get(view.open)));
  body.replaceChildren(...rows);
  const cases = new Set(chosen.map((one) => one.entry).filter((entry) => entry !== allCases)).size;
  const left = Math.max(0, chosen.length - view.most);
  document.getElementById("shown").textContent =
    `${chosen.length} of ${lines.length} lines, ${cases} of ${data.cases.length} cases`
    + (left ? `; the first ${view.most} are shown.` : ".");
  document.getElementById("show-more").hidden = !left;
  for (const head of document.querySelectorAll("#results-table th")) {
    const sorted = head.dataset.column === view.column;
    head.setAttribute("aria-sort", sorted ? (view.down ? "descending" : "ascending") : "none");
  }
}

function openRows(entry) {
  const rows = entry.lines.map((line) => lineRow({ entry, line }));
  return [...rows, element("tr", { class: "panel-row" }, element("td", { colspan: 8 }, panelOf(entry)))];
}

function sortBy(column) {
  view.down = view.column === column ? !view.down : column === "flagged";
  view.column = column;
  showTable();
}

function startTable() {
  for (const button of document.querySelectorAll("#results-table th button")) {
    button.addEventListener("click", () => sortBy(button.parentElement.dataset.column));
  }
  const changed = (key, read) => (event) => { view[key] = read(event.target); view.most = PAGE_LINES; showTable(); };
  const on = (name, event, action) => document.getElementById(name).addEventListener(event, action);
  on("filter-text", "input", changed("text", (field) => field.value));
  on("filter-class", "change", changed("organ", (field) => field.value));
  on("filter-flagged", "change", changed("flagged", (field) => field.checked));
  on("worst-first", "click", () => { view.column = null; showTable(); });
  on("show-more", "click", () => { view.most = Infinity; showTable(); });
  on("save-csv", "click", () => saveFile("results.csv", asCsv(chosenLines())));
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
}
