// Files beside the page hand over one value each: a page from a disk may add scripts, but not fetch.
const data = JSON.parse(document.getElementById("report-data").textContent);
const waiting = new Map();
window.oneshotReport = {
  receive(kind, key, value) {
    const take = waiting.get(kind + " " + key);
    if (take) take(value);
  },
};

function load(kind, key) {
  const within = document.getElementById(kind + "-" + key);
  if (within) return Promise.resolve(JSON.parse(within.textContent));
  return new Promise((resolve, reject) => {
    waiting.set(kind + " " + key, resolve);
    const address = "cases/" + key + "_" + kind + ".js";
    addScript(address, reject, () => reject(new Error(address + " is damaged.")));  // of no effect once it was received
  });
}

let viewerLibrary = null;
function loadViewerLibrary() {
  if (window.niivue) return Promise.resolve(window.niivue);
  viewerLibrary = viewerLibrary || new Promise((resolve, reject) => {
    addScript("niivue.umd.js", reject, () => resolve(window.niivue));
  });
  return viewerLibrary;
}

function addScript(address, failed, loaded) {
  const script = document.createElement("script");
  script.src = address;
  script.onerror = () => { script.remove(); failed(new Error(address + " is missing beside this page.")); };
  script.onload = () => { script.remove(); if (loaded) loaded(); };
  document.head.append(script);
}

// An element with attributes and children; texts stay texts.
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function saveFile(name, text) {
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
