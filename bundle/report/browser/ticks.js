// Which cases are right as they are, and which are to be corrected; kept in this browser.
const STORE = "oneshot-report-" + data.run;
const ACCEPTED = "accepted";
const TO_CORRECT = "to correct";
const TAKEN_BACK = "taken back"; // of what this run was given as accepted
let storeWorks = true;
const ticks = storedTicks();

// Case -> [tick, label map]; one about a label map that has changed is gone.
function storedTicks() {
  try {
    const stored = new Map(Object.entries(JSON.parse(localStorage.getItem(STORE) || "{}")));
    return new Map(data.cases.filter((entry) => {
      const [tick, map] = stored.get(entry.id) || [];
      return [ACCEPTED, TO_CORRECT, TAKEN_BACK].includes(tick) && map === entry.map;
    }).map((entry) => [entry.id, stored.get(entry.id)[0]]));
  } catch {
    storeWorks = false;
    return new Map();
  }
}

function canBeTicked(entry) {
  return data.ticks && entry.map !== null && (entry.role === "unlabelled" || entry.role === "accepted");
}

// What this run was given as accepted stays so until somebody takes that back or wants to correct it.
function tickOf(entry) {
  const tick = ticks.get(entry.id) || (entry.role === ACCEPTED && canBeTicked(entry) ? ACCEPTED : null);
  return tick === TAKEN_BACK ? null : tick;
}

function tickMark(entry) {
  return { [ACCEPTED]: "✓", [TO_CORRECT]: "✎" }[tickOf(entry)] || "";
}

function setTick(entry, tick) {
  if (tick !== null) ticks.set(entry.id, tick);
  else if (entry.role === ACCEPTED) ticks.set(entry.id, TAKEN_BACK);
  else ticks.delete(entry.id);
  const kept = data.cases.filter((one) => ticks.has(one.id)).map((one) => [one.id, [ticks.get(one.id), one.map]]);
  try {
    localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(kept)));
  } catch {
    storeWorks = false;
  }
  for (const mark of document.querySelectorAll(".tick-mark")) {
    if (mark.dataset.case === entry.key) mark.textContent = tickMark(entry);
  }
  showTicked();
}

function acceptedCases() {
  return data.cases.filter((entry) => canBeTicked(entry) && tickOf(entry) === ACCEPTED).map((entry) => entry.id);
}

function showTicked() {
  const told = document.getElementById("ticked");
  if (!told) return;
  const toCorrect = data.cases.filter((entry) => tickOf(entry) === TO_CORRECT).length;
  told.textContent = `Right as they are: ${acceptedCases().length}. To correct: ${toCorrect}.`
    + (storeWorks ? "" : " This browser keeps nothing: save the list before you close the page.");
  document.getElementById("save-accepted").disabled = acceptedCases().length === 0;
}

function tickButtons(entry) {
  if (!canBeTicked(entry)) return null;
  const choices = [[ACCEPTED, "Right as it is", "a"], [TO_CORRECT, "To correct", "c"]];
  const buttons = choices.map(([tick, words, key]) => element("button", {
    type: "button", "data-tick": tick, "aria-pressed": String(tickOf(entry) === tick), title: "key " + key,
    onclick: () => {
      setTick(entry, tickOf(entry) === tick ? null : tick);
      for (const button of buttons) button.setAttribute("aria-pressed", String(tickOf(entry) === button.dataset.tick));
    },
  }, words));
  return element("span", { class: "tick-buttons" }, ...buttons);
}

function startTicks() {
  const save = document.getElementById("save-accepted");
  if (save) save.addEventListener("click", () => saveFile("accepted.txt", acceptedCases().join("\n") + "\n"));
  showTicked();
}
