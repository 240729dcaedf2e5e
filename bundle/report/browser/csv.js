// Comma-separated values as results.csv has them: quoted texts, a byte order mark, no text that is a formula.
const FORMULA = /(^|[,;\t])([\s"]*)(?=[=+\-@＝＋－＠])/g;
const CSV_COLUMNS = [
  "case", "role", "class", "volume_ml", "predicted_dice", "dice_low", "dice_high", "flagged", "reasons", "tick",
];

function csvCell(value) {
  if (value === null) return '""';
  if (typeof value === "number") return String(value);
  return '"' + value.replace(FORMULA, "$1$2'").replaceAll('"', '""') + '"';
}

function asCsv(chosen) {
  const rows = chosen.filter(({ entry }) => entry !== allCases).map(({ entry, line }) => {
    const name = line[0] < 0 ? null : data.classes[line[0]].name;
    const common = line[5] && line[2] !== null ? commonTexts.get(line[0]) || [] : [];
    const reasons = [...common.map((number) => data.texts[number]), ...reasonsOf(line)].join("; ");
    return [entry.id, entry.role, name, ...line.slice(1, 5), line[5] ? "true" : "false", reasons, tickOf(entry)];
  });
  return "\ufeff" + [CSV_COLUMNS, ...rows].map((row) => row.map(csvCell).join(",") + "\r\n").join("");
}
