// Three planes and 3-D of one case at a time, by niivue; its one canvas moves from case to case.
const NARROW = 700;
const VIEWS = [["three", "three planes"], ["axial", "axial"], ["coronal", "coronal"], ["sagittal", "sagittal"], ["3d", "3-D"]];
const AXIS = { three: 2, axial: 2, coronal: 1, sagittal: 0, "3d": 2 };
const KEYS = { ArrowUp: 1, ArrowDown: -1, PageUp: 5, PageDown: -5 };
const chosen = { view: window.innerWidth < NARROW ? "axial" : "three", window: null, label: null, opacity: 0.4 };
const canvas = element("canvas", { tabindex: 0, "aria-label": "viewer" });
const stage = element("div", { class: "stage" }, canvas); // niivue styles the canvas's parent
let viewer = null;
let starting = null;
let shownCase = null;

function hasWebGl2() {
  return Boolean(document.createElement("canvas").getContext("webgl2"));
}

function organColours(values) {
  const colours = data.classes.map((one) => one.colour.match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16)));
  const channel = (n) => [0, ...colours.map((colour) => colour[n])];
  const shown = [0, ...values.map(() => 255)];
  return {
    R: channel(0), G: channel(1), B: channel(2), A: shown, I: [0, ...values],
    labels: ["", ...data.classes.map((one) => one.spoken)],
  };
}

async function newViewer() {
  const library = await loadViewerLibrary();
  viewer = new library.Niivue({
    backColor: [0, 0, 0, 1], crosshairColor: [1, 1, 1, 0.6], crosshairWidth: 0.15, crosshairWidthUnit: "percent",
    isRadiologicalConvention: true, sagittalNoseLeft: true, show3Dcrosshair: true, dragAndDropEnabled: false,
    loadingText: "", logLevel: "error", multiplanarShowRender: library.SHOW_RENDER.ALWAYS,
    multiplanarLayout: library.MULTIPLANAR_TYPE.AUTO, dragMode: library.DRAG_MODE.windowing, isOrientCube: false,
    viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", fontMinPx: 11, fontColor: [1, 1, 1, 1],
  });
  await viewer.attachToCanvas(canvas);
  viewer.onLocationChange = showPlace;
  canvas.addEventListener("keydown", scrollByKey, true);
}

// Whoever goes on to another case while this one is read does not get it any more.
async function showVolume(entry, place, organ) {
  const left = () => view.open !== entry.key || !place.isConnected;
  const volume = await load("volume", entry.key);
  starting = starting || newViewer();
  await starting;
  const toolbar = viewerToolbar(volume);
  const [, low, high] = volume.windows.find(([name]) => name === chosen.window);
  const image = await window.niivue.NVImage.loadFromBase64({
    base64: volume.image, name: "image.nii.gz", colormap: "gray", opacity: 1, cal_min: low, cal_max: high,
    trustCalMinMax: false,
  });
  if (left()) return;
  place.replaceChildren(toolbar, stage, element("p", { class: "place" }));
  for (const old of [...viewer.volumes].reverse()) viewer.removeVolume(old);
  shownCase = { entry, volume, place };
  viewer.addVolume(image);
  await showLabel();
  if (left()) return;
  showView();
  goTo(organ);
  canvas.focus({ preventScroll: true });
}

async function showLabel() {
  const [mine, name] = [shownCase, chosen.label];
  const found = mine.volume.labels.find(([one]) => one === name);
  const label = found && await window.niivue.NVImage.loadFromBase64({
    base64: found[1], name: "label.nii.gz", opacity: chosen.opacity,
  });
  if (shownCase !== mine || chosen.label !== name) return;
  if (viewer.volumes.length > 1) viewer.removeVolume(viewer.volumes[1]);
  if (!label) return;
  label.setColormapLabel(organColours(mine.volume.values));
  viewer.addVolume(label);
}

// Width by height of three planes and 3-D side by side: axial and coronal are x wide, sagittal y, 3-D the longest.
function rowShape() {
  const { dimsRAS, pixDimsRAS } = viewer.volumes[0];
  const [x, y, z] = [1, 2, 3].map((axis) => dimsRAS[axis] * pixDimsRAS[axis]);
  return (2 * x + y + Math.max(x, y, z)) / Math.max(y, z);
}

function showView() {
  const types = { three: 3, axial: 0, coronal: 1, sagittal: 2, "3d": 4 };
  stage.classList.toggle("row", chosen.view === "three");
  stage.style.aspectRatio = chosen.view === "three" ? rowShape() : "";
  viewer.setOpacity(0, chosen.view === "3d" && viewer.volumes.length > 1 ? 0.05 : 1);
  viewer.setSliceType(types[chosen.view]);
  viewer.resizeListener();
  showSlider();
}

// To an organ's middle, or where there is none to the volume's.
function goTo(organ) {
  const { volume } = shownCase;
  const centre = organ >= 0 ? volume.centres[organ] : volume.centres.find((one) => one);
  viewer.scene.crosshairPos = centre ? viewer.mm2frac(centre) : [0.5, 0.5, 0.5];
  viewer.drawScene();
  viewer.createOnLocationChange();
}

// Keys are the page's alone: niivue has some of its own that nobody expects.
function scrollByKey(event) {
  event.stopImmediatePropagation();
  const step = KEYS[event.key];
  if (!step) return onKey(event);
  event.preventDefault();
  scroll(step);
}

function scroll(step) {
  const move = [0, 0, 0];
  move[AXIS[chosen.view]] = step;
  viewer.moveCrosshairInVox(...move);
}

function sliceCount() {
  return viewer.volumes[0].dimsRAS[1 + AXIS[chosen.view]];
}

function sliceNow() {
  return Math.round(viewer.frac2vox(viewer.scene.crosshairPos)[AXIS[chosen.view]]);
}

function showSlider() {
  const slider = shownCase && shownCase.place.querySelector(".slice");
  if (!slider) return;
  slider.parentElement.hidden = chosen.view === "3d";
  slider.max = sliceCount() - 1;
  slider.value = sliceNow();
}

function showPlace(where) {
  if (!shownCase) return;
  showSlider();
  const [x, y, z] = where.mm;
  const sides = [[x, "R", "L"], [y, "A", "P"], [z, "S", "I"]];
  const told = sides.map(([value, up, down]) => (value < 0 ? down : up) + " " + Math.abs(value).toFixed(0)).join(" ");
  const label = where.values[1] ? where.values[1].value : 0;
  const organ = shownCase.volume.values.indexOf(Math.round(label));
  shownCase.place.querySelector(".place").textContent =
    `${told} mm, value ${Math.round(where.values[0].value)}` + (organ >= 0 ? `, ${data.classes[organ].spoken}` : "");
}

function pickList(title, options, value, changed) {
  const list = element("select", { onchange: (event) => changed(event.target.value) },
    ...options.map(([key, words]) => element("option", { value: key, selected: key === value }, words)));
  return element("label", {}, title + " ", list);
}

function viewerToolbar(volume) {
  const labels = volume.labels.map(([name]) => [name, name]);
  if (chosen.label !== "" && !labels.some(([name]) => name === chosen.label)) chosen.label = (labels[0] || [""])[0];
  if (!volume.windows.some(([name]) => name === chosen.window)) chosen.window = volume.windows[0][0];
  const range = (title, css, settings, changed) => element("label", {}, title + " ", element("input", {
    type: "range", class: css, ...settings, oninput: (event) => changed(Number(event.target.value)),
  }));
  return element("div", { class: "viewer-tools" },
    pickList("View", VIEWS, chosen.view, (value) => { chosen.view = value; showView(); }),
    pickList("Window", volume.windows.map(([name]) => [name, name]), chosen.window, (value) => {
      const [name, low, high] = volume.windows.find(([one]) => one === value);
      chosen.window = name;
      Object.assign(viewer.volumes[0], { cal_min: low, cal_max: high });
      viewer.updateGLVolume();
    }),
    pickList("Label", [...labels, ["", "none"]], chosen.label, async (value) => {
      chosen.label = value;
      await showLabel();
      showView();
    }),
    range("Opacity", "opacity", { min: 0, max: 1, step: 0.05, value: chosen.opacity }, (value) => {
      chosen.opacity = value;
      if (viewer.volumes.length > 1) viewer.setOpacity(1, value);
    }),
    range("Slice", "slice", { min: 0, max: 1, step: 1, value: 0 }, (value) => scroll(value - sliceNow())),
    element("small", { class: "print-off" }, element("span", { class: "by-mouse" }, "Wheel or ↑ ↓ scroll; click or drag "
      + "moves all planes; drag with the right button sets the window. "), `Voxels of ${volume.spacing.join(" × ")} mm.`));
}
