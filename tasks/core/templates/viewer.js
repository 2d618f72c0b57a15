"use strict";
// Page of scans to check: NiiVue shows one scan at a time, and its mask above it, from the base64 in the page.

const GREY_RANGE = 255;
const MULTIPLANAR = 3;
const PLANE_AXES = { 0: 2, 1: 1, 2: 0, 3: 2 }; // axis of RAS+ that the slice slider of each plane moves along
const WIDE = 1.25; // width of the picture by its height from which the axial plane is the largest of three
const WIDE_LAYOUT = [
  { sliceType: 0, position: [0, 0, 0.597, 1] },
  { sliceType: 1, position: [0.603, 0, 0.397, 0.496] },
  { sliceType: 2, position: [0.603, 0.504, 0.397, 0.496] },
];
const LESION_COLOURS = { R: [0, 255, 255], G: [0, 40, 40], B: [0, 40, 40], A: [0, 128, 255], I: [0, 128, 255] };
const element = (id) => document.getElementById(id);
const canvas = element("canvas");
const scans = [...document.querySelectorAll("button.scan")];
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
  fontColor: [0.85, 0.9, 0.95, 1],
  invertScrollDirection: true, // down is towards the feet, as with the arrow key
  crosshairWidthUnit: "percent",
  crosshairGap: 6,
  mouseEventConfig: {
    leftButton: { primary: niivue.DRAG_MODE.crosshair },
    rightButton: niivue.DRAG_MODE.windowing,
    centerButton: niivue.DRAG_MODE.pan,
  },
});
let wanted = 0;
let shown = null;
let isLoading = false;

function plane() {
  return Number(planes.find((input) => input.checked).value);
}

function say(text) {
  element("status").textContent = text;
}

// Window: level and width in grey levels; the sliders show them as brightness and contrast, 0 is the whole range.

function chosenWindow() {
  const level = GREY_RANGE / 2 - Number(element("brightness").value);
  const width = GREY_RANGE * 2 ** (-Number(element("contrast").value) / 25);
  return { cal_min: level - width / 2, cal_max: level + width / 2 };
}

// Once per frame: a slider reports more often than a large scan can be drawn.
let isWindowDue = false;

function applyWindow() {
  if (isWindowDue) return;
  isWindowDue = true;
  requestAnimationFrame(() => {
    isWindowDue = false;
    const [image] = viewer.volumes;
    if (!image) return;
    Object.assign(image, chosenWindow());
    viewer.refreshLayers(image, 0);
    viewer.drawScene();
    showWindow();
  });
}

function readWindow() {
  const [image] = viewer.volumes;
  if (!image) return;
  const [level, width] = [(image.cal_min + image.cal_max) / 2, image.cal_max - image.cal_min];
  element("brightness").value = GREY_RANGE / 2 - level;
  element("contrast").value = -25 * Math.log2(Math.max(width, 1) / GREY_RANGE);
  showWindow();
}

function showWindow() {
  const [image] = viewer.volumes;
  element("brightness-shown").value = `level ${Math.round((image.cal_min + image.cal_max) / 2)}`;
  element("contrast-shown").value = `width ${Math.round(image.cal_max - image.cal_min)}`;
}

function resetWindow() {
  element("brightness").value = element("contrast").value = 0;
  applyWindow();
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
}

// The voxel to show first: the middle of the lesion in the slice with most of it; without a lesion the scan's middle.
function firstVoxel(mask) {
  const [, width, height, n] = mask.hdr.dims;
  const best = { area: 0, voxel: [width / 2, height / 2, Math.floor(n / 2)] };
  for (let slice = 0; slice < n; slice++) {
    let [area, sumX, sumY] = [0, 0, 0];
    for (let y = 0, at = slice * width * height; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        if (mask.img[at]) {
          area++;
          sumX += x;
          sumY += y;
        }
      }
    }
    if (area > best.area) {
      best.area = area;
      best.voxel = [Math.round(sumX / area), Math.round(sumY / area), slice];
    }
  }
  return best.voxel;
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
  if (isLoading) return;
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
  try {
    const image = await read(`image-${number}`, { colormap: "gray", ...chosenWindow() });
    const mask = await read(`mask-${number}`, { colormap: "lesion", cal_min: 0, cal_max: 1, opacity: opacity() });
    viewer.volumes = []; // removing them one by one draws each time
    viewer.addVolume(image);
    viewer.addVolume(mask);
    viewer.setPan2Dxyzmm([0, 0, 0, 1]);
    offerPlanes(mask.hdr.dims[3] > 1);
    centreOn(mask);
    viewer.drawScene();
    showSlice();
    showWindow();
    say("");
    return true;
  } catch (error) {
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
  const [id, caption] = scans[number].querySelectorAll("span, small");
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
}

function offerPlanes(isVolume) {
  for (const input of planes) input.disabled = !isVolume && input.value !== "0";
  setPlane(isVolume ? plane() : 0);
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

function opacity() {
  return element("overlay").checked ? Number(element("opacity").value) / 100 : 0;
}

function applyOpacity() {
  element("opacity-shown").value = `${element("opacity").value} %`;
  if (viewer.volumes.length > 1) viewer.setOpacity(1, opacity());
}

function applyCrosshair() {
  viewer.setCrosshairWidth(element("crosshair").checked ? 0.25 : 0);
}

function toggle(id) {
  element(id).click();
}

const KEYS = {
  n: () => show(wanted + 1),
  p: () => show(wanted - 1),
  ArrowRight: () => show(wanted + 1),
  ArrowLeft: () => show(wanted - 1),
  ArrowUp: () => step(1),
  ArrowDown: () => step(-1),
  o: () => toggle("overlay"),
  c: () => toggle("crosshair"),
  r: resetWindow,
  1: () => setPlane(MULTIPLANAR),
  2: () => setPlane(0),
  3: () => setPlane(1),
  4: () => setPlane(2),
};

function step(by) {
  const slider = element("slice");
  moveTo(Math.min(Math.max(Number(slider.value) + by, 1), Number(slider.max)));
}

function onKey(event) {
  if (event.target === canvas) event.stopPropagation(); // NiiVue has keys of its own
  if (event.type !== "keydown" || event.ctrlKey || event.metaKey || event.altKey) return;
  const isOfControl = event.key.startsWith("Arrow") && event.target.matches("input");
  const act = Object.hasOwn(KEYS, event.key) && viewer.volumes.length && !isOfControl ? KEYS[event.key] : null;
  if (!act) return;
  event.preventDefault();
  act();
}

function listen() {
  scans.forEach((button, number) => button.addEventListener("click", () => choose(number)));
  element("previous").addEventListener("click", () => show(wanted - 1));
  element("next").addEventListener("click", () => show(wanted + 1));
  for (const id of ["brightness", "contrast"]) element(id).addEventListener("input", applyWindow);
  element("reset").addEventListener("click", resetWindow);
  element("slice").addEventListener("input", (event) => moveTo(Number(event.target.value)));
  for (const id of ["overlay", "opacity"]) element(id).addEventListener("input", applyOpacity);
  element("crosshair").addEventListener("input", applyCrosshair);
  for (const input of planes) input.addEventListener("input", () => setPlane(plane()));
  for (const type of ["keydown", "keyup"]) document.addEventListener(type, onKey, { capture: true });
  for (const type of ["dragover", "drop"]) document.addEventListener(type, (event) => event.preventDefault());
  for (const type of ["mousemove", "mouseup"]) {
    canvas.addEventListener(type, (event) => (event.buttons & 2 || event.button === 2) && readWindow());
  }
  new ResizeObserver(layOut).observe(element("picture"));
  viewer.onIntensityChange = readWindow;
  viewer.onLocationChange = showSlice;
}

async function start() {
  if (!scans.length) return;
  if (!document.createElement("canvas").getContext("webgl2")) {
    say("This browser has no WebGL 2, which the viewer needs. Use another one, or switch on hardware acceleration.");
    document.body.dataset.state = "failed";
    return;
  }
  viewer.addColormap("lesion", LESION_COLOURS);
  await viewer.attachToCanvas(canvas);
  listen();
  applyOpacity();
  applyCrosshair();
  await show(0);
}

start();
