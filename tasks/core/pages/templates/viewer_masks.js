"use strict";
// Masks above the image: the prediction as outline with a fill, its correction as outline, each at the half-way line
// between voxels inside and outside, so that an edge hides no lesion however large it is drawn.

const OUTLINE_PX = 2;
// The mask's bits as channels: red is the prediction, green the correction; NiiVue looks a label up at label / 3.
const MASK_CHANNELS = {
  R: [0, 0, 255, 255, 0, 0, 255, 255],
  G: [0, 0, 0, 0, 255, 255, 255, 255],
  B: [0, 0, 0, 0, 0, 0, 0, 0],
  A: [0, 0, 255, 255, 255, 255, 255, 255],
  I: [0, 40, 41, 125, 126, 210, 211, 255],
};
const SLICE_SHADER = `#version 300 es
precision highp int;
precision highp float;
uniform highp sampler3D volume;
uniform highp sampler3D overlay;
uniform float overlays;
uniform float opacity;
uniform float overlayOutlineWidth;
uniform float overlayAlphaShader;
uniform vec2 shown;
in vec3 texPos;
out vec4 color;

const vec3 PREDICTION = vec3(1.0, 0.16, 0.16);
const vec3 CORRECTION = vec3(0.1, 1.0, 0.45);

// Share of a pixel that the outlines cover. A mask is 1 inside, 0 outside, and falls from voxel to voxel; its slope is
// taken between the pixels around this one, because that of dFdx is one for four pixels.
vec2 outlines(vec2 inside) {
  vec3 right = dFdx(texPos), up = dFdy(texPos);
  vec2 across = texture(overlay, texPos + right).rg - texture(overlay, texPos - right).rg;
  vec2 along = texture(overlay, texPos + up).rg - texture(overlay, texPos - up).rg;
  vec2 slope = 0.5 * sqrt(across * across + along * along);
  vec2 away = abs(inside - 0.5) / max(slope, 0.01);
  return 1.0 - smoothstep(overlayOutlineWidth / 2.0 - 0.5, overlayOutlineWidth / 2.0 + 0.5, away);
}

void main() {
  vec2 isDrawn = shown * step(0.5, overlays);
  vec2 inside = texture(overlay, texPos).rg;
  vec2 edge = outlines(inside) * isDrawn;
  float fill = step(0.5, inside.r) * isDrawn.r * overlayAlphaShader;
  color = vec4(texture(volume, texPos).rgb, opacity);
  color.rgb = mix(color.rgb, PREDICTION, max(fill, edge.r));
  color.rgb = mix(color.rgb, CORRECTION, edge.g);
}`;

function startMasks() {
  viewer.addColormap("mask", MASK_CHANNELS);
  viewer.setCustomSliceShader(SLICE_SHADER);
  applyMasks();
}

function offerMasks(isCorrected) {
  element("correction").disabled = !isCorrected;
  element("correction").closest("label").hidden = !isCorrected;
}

function applyMasks() {
  const [gl, shader] = [viewer.gl, viewer.customSliceShader];
  shader.use(gl);
  gl.uniform2f(shader.uniforms.shown, element("overlay").checked ? 1 : 0, element("correction").checked ? 1 : 0);
  viewer.overlayOutlineWidth = OUTLINE_PX * (window.devicePixelRatio || 1);
  viewer.overlayAlphaShader = element("fill").checked ? Number(element("opacity").value) / 100 : 0;
  element("opacity-shown").value = `${element("opacity").value} %`;
  if (viewer.volumes.length) viewer.drawScene();
}

// The voxel to show first: the middle of the mask in the slice with most of it; without a mask the scan's middle.
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

function listenToMasks() {
  for (const id of ["overlay", "correction", "fill", "opacity"]) element(id).addEventListener("input", applyMasks);
}
