// A case's panel: ticks, viewer, numbers and pictures.
const panels = new Map();
let openOrgan = -1;

function panelOf(entry) {
  if (!panels.has(entry.key)) {
    panels.clear(); // one at a time: pictures of many cases would fill the memory
    panels.set(entry.key, newPanel(entry));
  }
  return panels.get(entry.key);
}

function newPanel(entry) {
  const loaded = element("div", {}, "Loading …");
  const panel = element("div", { class: "panel", id: "panel" },
    element("div", { class: "panel-tools" }, element("strong", {}, entry.id), tickButtons(entry),
      data.open ? null : element("span", { class: "steps" },
        element("button", { type: "button", title: "key p", onclick: () => step(-1) }, "Previous case"),
        element("button", { type: "button", title: "key n", onclick: () => step(1) }, "Next case"),
        element("button", { type: "button", title: "key Escape", onclick: () => openCase(null) }, "Close"))),
    loaded);
  load("panel", entry.key).then((html) => {
    loaded.innerHTML = html; // ours: every text of the data was escaped when it was written
    bindLayers(loaded);
    return showViewer(entry, loaded.querySelector(".viewer-place"), loaded.querySelector(".pictures"));
  }).catch((error) => { loaded.textContent = "This case cannot be shown: " + error.message; });
  return panel;
}

async function showViewer(entry, place, pictures) {
  const instead = (words) => {
    place.replaceChildren(element("p", { class: "warning" }, words + (pictures ? " The pictures below show the same." : "")));
    if (pictures) pictures.open = true;
  };
  if (!hasWebGl2()) return instead("This browser has no WebGL2, so the volume cannot be scrolled here.");
  place.textContent = "Loading …";
  try {
    await showVolume(entry, place, openOrgan);
  } catch (error) {
    instead("The volume cannot be shown: " + error.message);
  }
}

function openCase(key, organ) {
  view.open = key;
  openOrgan = organ === undefined ? -1 : organ;
  if (key === null) panels.clear();
  showTable();
  if (key !== null) document.getElementById("panel").scrollIntoView();
}

function step(by) {
  const keys = [...new Set(chosenLines().map((one) => one.entry.key))].filter((key) => key !== null);
  const next = keys[keys.indexOf(view.open) + by];
  if (next) openCase(next);
}

// Layers of the pictures that are switched off stay so in the next case.
function bindLayers(place) {
  for (const box of place.querySelectorAll("[data-layer]")) {
    const hidden = "without-" + box.dataset.layer;
    box.checked = !document.body.classList.contains(hidden);
    box.addEventListener("change", () => document.body.classList.toggle(hidden, !box.checked));
  }
}

function loadWhenOpened(details) {
  const place = details.querySelector(".loaded");
  const show = () => {
    if (!details.open || place.childNodes.length) return;
    place.textContent = "Loading …";
    load(details.dataset.load, details.dataset.key)
      .then((html) => { place.innerHTML = html; })
      .catch((error) => { place.textContent = error.message; });
  };
  details.addEventListener("toggle", show);
  show();
}

function onKey(event) {
  if (view.open === null || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) return;
  const tick = { a: ACCEPTED, c: TO_CORRECT }[event.key];
  const button = tick && document.querySelector(`#panel [data-tick="${tick}"]`);
  if (button) button.click();
  else if (event.key === "n") step(1);
  else if (event.key === "p") step(-1);
  else if (event.key === "Escape" && !data.open) openCase(null);
}

if (data.open) document.body.classList.add("alone");
startTable();
startTicks();
showTable();
for (const details of document.querySelectorAll("details[data-load]")) loadWhenOpened(details);
document.addEventListener("keydown", onKey);
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
