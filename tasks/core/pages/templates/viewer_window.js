"use strict";
// Window of the image: level and width, in HU or in grey levels, set by sliders, presets and a drag of the mouse, and
// the value under the crosshair.

const GREY = { first: { level: 127.5, width: 255 }, low: 0, high: 255, unit: "grey levels" };
const presets = [...document.querySelectorAll("button.preset")];
const presetOf = (button) => ({ level: Number(button.dataset.level), width: Number(button.dataset.width) });
const HU = {
  first: presetOf(presets[0]),
  low: Number(document.body.dataset.low),
  high: Number(document.body.dataset.high),
  unit: "HU",
};
let scale = GREY;
let isWindowDue = false;

const limits = ({ level, width }) => ({ cal_min: level - width / 2, cal_max: level + width / 2 });
const inUnit = (value) => `${Math.round(value).toLocaleString("en-US")} ${scale.unit}`;

// What is to be shown of the next image: its unit, presets only in HU, and the first window.
function offerWindow(isHu) {
  scale = isHu ? HU : GREY;
  element("presets").hidden = !isHu;
  Object.assign(element("level"), { min: scale.low, max: scale.high });
  Object.assign(element("width"), { min: 1, max: 2 * (scale.high - scale.low) });
}

function currentWindow() {
  const [{ cal_min, cal_max }] = viewer.volumes;
  return { level: (cal_min + cal_max) / 2, width: cal_max - cal_min };
}

function setWindow(wanted) {
  const [image] = viewer.volumes;
  if (!image) return;
  Object.assign(image, limits(wanted));
  showWindow();
  if (isWindowDue) return; // once per frame: a slider reports more often than a large scan can be drawn
  isWindowDue = true;
  requestAnimationFrame(() => {
    isWindowDue = false;
    viewer.refreshLayers(viewer.volumes[0], 0);
    viewer.drawScene();
  });
}

function showWindow() {
  if (!viewer.volumes.length) return;
  const { level, width } = currentWindow();
  element("level").value = level;
  element("width").value = width;
  element("level-shown").value = inUnit(level);
  element("width-shown").value = inUnit(width);
  const isShown = (one) => Math.abs(one.level - level) < 0.5 && Math.abs(one.width - width) < 0.5;
  for (const button of presets) button.setAttribute("aria-pressed", String(isShown(presetOf(button))));
}

function resetWindow() {
  setWindow(scale.first);
}

function usePreset(key) {
  const button = presets.find((one) => one.dataset.key === key);
  if (button && scale === HU) setWindow(presetOf(button));
}

// The page keeps no value beyond its range, so the ends of it stand for all beyond them.
function showValue() {
  const [image] = viewer.volumes;
  const value = image.getValue(...viewer.frac2vox(viewer.scene.crosshairPos));
  const beyond = value <= scale.low ? "≤ " : value >= scale.high ? "≥ " : "";
  element("value").value = scale === HU ? beyond + inUnit(value) : `grey level ${Math.round(value)}`;
}

function listenToWindow() {
  element("level").addEventListener("input", (event) =>
    setWindow({ ...currentWindow(), level: Number(event.target.value) }));
  element("width").addEventListener("input", (event) =>
    setWindow({ ...currentWindow(), width: Number(event.target.value) }));
  element("reset").addEventListener("click", resetWindow);
  for (const button of presets) button.addEventListener("click", () => usePreset(button.dataset.key));
  for (const type of ["mousemove", "mouseup"]) {
    canvas.addEventListener(type, (event) => (event.buttons & 2 || event.button === 2) && showWindow());
  }
  viewer.onIntensityChange = showWindow;
}
