"use strict";
// Page of scans to check: NiiVue shows one scan at a time, and its masks above it, from the base64 in the page.

const MULTIPLANAR = 3;
const PLANE_AXES = { 0: 2, 1: 1, 2: 0, 3: 2 }; // axis of RAS+ that the slice slider of each plane moves along
const WIDE = 1.25; // width of the picture by its height from which the axial plane is the largest of three
const WIDE_LAYOUT = [
  { sliceType: 0, position: [0, 0, 0.597, 1] },
  { sliceType: 1, position: [0.603, 0, 0.397, 0.496] },
  { sliceType: 2, position: [0.603, 0.504, 0.397, 0.496] },
];
const data = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const scans = [...document.querySelectorAll("button.scan")];
const verdictButtons = [...document.querySelectorAll("[data-verdict]")];
const planes = [...document.querySelectorAll("input[name=plane]")];
const viewer = new niivue.Niivue({
  logLevel: "error",
  loadingText: "",
  dragAndDropEnabled: false,
  viewModeHotKey: "",
  clipPlaneHotKey: "",
  cycleClipPlaneHotKey: "",
  isRadiologicalConvention: true, // the patient's right on the left of the picture
  sagittalNoseLeft: true,
  multiplanarShowRender: niivue.SHOW_RENDER.NEVER,
  multiplanarPadPixels: 6,
  sliceType: niivue.SLICE_TYPE.MULTIPLANAR,
  crosshairColor: [0.25, 0.85, 1, 0.8],
  fontColor: [1, 0.62, 0.1, 1], // seen on air and on soft tissue
  isForceMouseClickToVoxelCenters: true,
  invertScrollDirection: true, // down is towards the feet, as with the arrow key
  crosshairWidthUnit: "percent",
  crosshairGap: 6,
  mouseEventConfig: {
    leftButton: { primary: niivue.DRAG_MODE.crosshair },
    rightButton: niivue.DRAG_MODE.windowing,
    centerButton: niivue.DRAG_MODE.pan,
  },
});
let chosenPlane = MULTIPLANAR; // of volumes; a single slice has the axial one alone
let wanted = 0;
let shown = null;
let isLoading = false;

function plane() {
  return Number(planes.find((input) => input.checked).value);
}

function say(text) {
  element("status").textContent = text;
}

// Slices

function moveTo(number) {
  const axis = PLANE_AXES[plane()];
  viewer.scene.crosshairPos[axis] = (number - 0.5) / viewer.volumes[0].dimsRAS[axis + 1];
  viewer.drawScene();
  showSlice();
}

function showSlice() {
  const [image] = viewer.volumes;
  if (!image) return;
  const axis = PLANE_AXES[plane()];
  const n = image.dimsRAS[axis + 1];
  const number = Math.min(Math.floor(viewer.scene.crosshairPos[axis] * n) + 1, n);
  element("slice").max = n;
  element("slice").value = number;
  element("slice-shown").value = `${number} of ${n}`;
  showValue();
}

function centreOn(mask) {
  const voxel = firstVoxel(mask);
  mask.permRAS.forEach((signed, axis) => {
    const stored = Math.abs(signed) - 1;
    const place = (voxel[stored] + 0.5) / mask.hdr.dims[stored + 1];
    viewer.scene.crosshairPos[axis] = signed < 0 ? 1 - place : place;
  });
}

// Scans

function read(id, options) {
  return niivue.NVImage.loadFromBase64({ base64: element(id).textContent, name: `${id}.nii.gz`, ...options });
}

// Show a scan; of those asked for while another is loaded, the last.
async function show(number) {
  if (number < 0 || number >= scans.length) return;
  wanted = number;
  if (isLoading || shown === wanted) return;
  isLoading = true;
  document.body.dataset.state = "loading";
  let isShown = false;
  while (shown !== wanted) isShown = await load(wanted);
  document.body.dataset.state = isShown ? "shown" : "failed";
  isLoading = false;
}

async function load(number) {
  announce(number);
  shown = number;
  const { isHu, isCorrected, hasSides } = scans[number].dataset;
  try {
    offerWindow(isHu === "true");
    const image = await read(`image-${number}`, { colormap: "gray", ...limits(scale.first) });
    const mask = await read(`mask-${number}`, { colormap: "mask", cal_min: 0, cal_max: 3, opacity: 1 });
    viewer.volumes = []; // removing them one by one draws each time
    viewer.addVolume(image);
    viewer.addVolume(mask);
    viewer.setPan2Dxyzmm([0, 0, 0, 1]);
    offerPlanes(mask.hdr.dims[3] > 1);
    offerMasks(isCorrected === "true");
    viewer.opts.isOrientationTextVisible = hasSides === "true";
    centreOn(mask);
    applyMasks();
    showSlice();
    showWindow();
    say("");
    return true;
  } catch (error) {
    viewer.volumes = []; // of another scan
    viewer.drawScene();
    say(`This scan cannot be shown (${error.message}).`);
    return false;
  }
}

function choose(number) {
  document.querySelector(".turn").scrollIntoView({ block: "nearest" }); // on a narrow screen the list lies below it
  show(number);
}

function announce(number) {
  say("Loading …");
  const [id, caption] = scans[number].querySelectorAll("span, .caption");
  scans.forEach((button) => button.removeAttribute("aria-current"));
  scans[number].setAttribute("aria-current", "true");
  const list = document.querySelector("nav");
  const [top, height] = [scans[number].offsetTop, scans[number].offsetHeight];
  list.scrollTop = Math.max(Math.min(list.scrollTop, top), top + height - list.clientHeight);
  element("scan").textContent = id.textContent;
  const place = `${number + 1} of ${scans.length}`;
  element("caption").textContent = caption.textContent ? `${place} · ${caption.textContent}` : place;
  element("previous").disabled = number === 0;
  element("next").disabled = number === scans.length - 1;
  showVerdicts();
}

// Verdicts: those of the report, on the same masks

const verdicts = keptVerdicts(data.store, data.masks.map(([id, sha]) => ({ id, sha })), showVerdicts);
const judged = (button) => ({ id: button.querySelector("span").textContent, sha: button.dataset.sha });

function decide(verdict) {
  const scan = judged(scans[wanted]);
  if (!scan.sha || document.body.dataset.state !== "shown") return;
  verdicts.decide(scan, verdict);
  showVerdicts();
}

function showVerdicts() {
  for (const button of scans) button.querySelector(".verdict").textContent = verdicts.of(judged(button)) ?? "";
  const scan = judged(scans[wanted]);
  for (const button of verdictButtons) {
    button.hidden = !scan.sha;
    button.setAttribute("aria-pressed", String(button.dataset.verdict === verdicts.of(scan)));
  }
  const n = verdicts.decided().length;
  element("export").disabled = !verdicts.canSave();
  element("decided").textContent = n ? `${n.toLocaleString("en-US")} with a verdict` : "";
}

function offerPlanes(isVolume) {
  for (const input of planes) input.disabled = !isVolume && input.value !== "0";
  setPlane(isVolume ? chosenPlane : 0);
}

// Three planes beside each other use little of a wide picture: there the axial plane takes its whole height.
function layOut() {
  const { clientWidth, clientHeight } = element("picture");
  const isWide = plane() === MULTIPLANAR && clientWidth > WIDE * clientHeight;
  if (isWide) viewer.setCustomLayout(WIDE_LAYOUT);
  else viewer.clearCustomLayout();
}

function setPlane(number) {
  const input = planes.find((one) => Number(one.value) === number);
  if (input.disabled) return;
  input.checked = true;
  layOut();
  viewer.setSliceType(number);
  showSlice();
}

function choosePlane(number) {
  setPlane(number);
  if (!planes.some((input) => input.disabled)) chosenPlane = number;
}

function applyCrosshair() {
  viewer.setCrosshairWidth(element("crosshair").checked ? 0.25 : 0);
}

function toggle(id) {
  element(id).click();
}

const TURNS = { n: 1, j: 1, ArrowRight: 1, p: -1, k: -1, ArrowLeft: -1 };
// Of the picture that is shown; the same keys mean the same in the report.
const KEYS = {
  ArrowUp: () => step(1),
  ArrowDown: () => step(-1),
  a: () => decide("accept"),
  c: () => decide("correct"),
  r: () => decide("reject"),
  o: () => toggle("overlay"),
  f: () => toggle("fill"),
  g: () => toggle("correction"),
  x: () => toggle("crosshair"),
  w: resetWindow,
  1: () => choosePlane(MULTIPLANAR),
  2: () => choosePlane(0),
  3: () => choosePlane(1),
  4: () => choosePlane(2),
  5: () => usePreset("5"),
  6: () => usePreset("6"),
  7: () => usePreset("7"),
};

function step(by) {
  const slider = element("slice");
  moveTo(Math.min(Math.max(Number(slider.value) + by, 1), Number(slider.max)));
}

function onKey(event) {
  if (event.target === canvas) event.stopPropagation(); // NiiVue has keys of its own
  if (event.type !== "keydown" || event.ctrlKey || event.metaKey || event.altKey) return;
  const isOfControl = event.key.startsWith("Arrow") && event.target.matches("[type=range], [type=radio]");
  if (isOfControl) return;
  const isShown = document.body.dataset.state === "shown";
  if (Object.hasOwn(TURNS, event.key)) show(wanted + TURNS[event.key]);
  else if (Object.hasOwn(KEYS, event.key) && isShown) KEYS[event.key]();
  else return;
  event.preventDefault();
}

function listen() {
  scans.forEach((button, number) => button.addEventListener("click", () => choose(number)));
  element("previous").addEventListener("click", () => show(wanted - 1));
  element("next").addEventListener("click", () => show(wanted + 1));
  for (const button of verdictButtons) button.addEventListener("click", () => decide(button.dataset.verdict));
  element("export").addEventListener("click", verdicts.save);
  listenToWindow();
  listenToMasks();
  element("slice").addEventListener("input", (event) => moveTo(Number(event.target.value)));
  element("crosshair").addEventListener("input", applyCrosshair);
  for (const input of planes) input.addEventListener("input", () => choosePlane(plane()));
  for (const type of ["keydown", "keyup"]) document.addEventListener(type, onKey, { capture: true });
  for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault());
  new ResizeObserver(layOut).observe(element("picture"));
  viewer.onLocationChange = showSlice;
}

async function start() {
  if (!scans.length) return;
  if (!document.createElement("canvas").getContext("webgl2")) {
    say("This browser has no WebGL 2, which the viewer needs. Use another one, or switch on hardware acceleration.");
    document.body.dataset.state = "failed";
    return;
  }
  await viewer.attachToCanvas(canvas);
  startMasks();
  listen();
  applyCrosshair();
  await show(0);
}

start();
