/**
 * A picture cut into the tiles that the vision tower sees (LLaVA-OneVision's AnyRes), as
 * edgecritic.vision.tiling does it in Python.
 */

import { resize } from './resample.js';

/** @typedef {import('./resample.js').Picture} Picture */

/**
 * What a bundle's critic.json says under `image`.
 * @typedef {{
 *   tile_size: number,
 *   patch_size: number,
 *   pinpoints: [number, number][],
 *   anyres_max: number | null,
 *   mean: [number, number, number],
 *   std: [number, number, number],
 *   resample: 'bicubic' | 'bilinear',
 * }} Geometry
 */

/**
 * @typedef {{
 *   tiles: Uint8Array[],
 *   rows: number,
 *   cols: number,
 *   width: number,
 *   height: number,
 * }} TiledPicture  First the base view, then the grid row by row; size of the picture in pixels.
 */

/**
 * The canvas that keeps most of the picture's pixels and, among those, wastes fewest.
 * @returns {[number, number]} height and width
 */
export function selectBestResolution(height, width, pinpoints) {
  let best = null;
  let bestKept = 0;
  let bestWaste = 0;
  for (const [canvasHeight, canvasWidth] of pinpoints) {
    const scale = Math.min(canvasWidth / width, canvasHeight / height);
    const scaled = Math.trunc(width * scale) * Math.trunc(height * scale);
    const kept = Math.min(scaled, width * height);
    const waste = canvasHeight * canvasWidth - kept;
    if (kept > bestKept || (kept === bestKept && kept > 0 && waste < bestWaste)) {
      best = [canvasHeight, canvasWidth];
      bestKept = kept;
      bestWaste = waste;
    }
  }
  if (best === null) {
    throw new Error(`the picture is ${width}x${height}: scaled to fit, its shorter side is gone`);
  }
  return best;
}

/**
 * @param {Picture} picture
 * @param {Geometry} geometry
 * @returns {TiledPicture}
 */
export function tile(picture, geometry) {
  const { width, height } = picture;
  const side = geometry.tile_size;
  const [canvasHeight, canvasWidth] = selectBestResolution(height, width, geometry.pinpoints);
  const [fitHeight, fitWidth] = fit(height, width, canvasHeight, canvasWidth);
  const content = resize(picture, fitWidth, fitHeight, geometry.resample);
  const canvas = centred(content, canvasWidth, canvasHeight);
  const tiles = [resize(picture, side, side, geometry.resample).data];
  const [rows, cols] = [canvasHeight / side, canvasWidth / side];
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      tiles.push(cut(canvas, canvasWidth, row * side, col * side, side));
    }
  }
  return { tiles, rows, cols, width, height };
}

/**
 * A tile as the vision encoder takes it: planes of colour, normalised in float32.
 * @param {Uint8Array} pixels (side, side, 3)
 * @param {Geometry} geometry
 * @returns {Float32Array} (3, side, side)
 */
export function pixelValues(pixels, geometry) {
  const n = geometry.tile_size ** 2;
  const planes = new Float32Array(3 * n);
  const scale = Math.fround(1 / 255);
  for (let channel = 0; channel < 3; channel++) {
    const mean = Math.fround(geometry.mean[channel]);
    const std = Math.fround(geometry.std[channel]);
    for (let k = 0; k < n; k++) {
      const scaled = Math.fround(pixels[3 * k + channel] * scale);
      planes[channel * n + k] = Math.fround(scaled - mean) / std;
    }
  }
  return planes;
}

/** The largest size of the picture's shape that the canvas holds, rounded up. */
function fit(height, width, canvasHeight, canvasWidth) {
  const [scaleHeight, scaleWidth] = [canvasHeight / height, canvasWidth / width];
  if (scaleWidth < scaleHeight) {
    return [Math.min(Math.ceil(height * scaleWidth), canvasHeight), canvasWidth];
  }
  return [canvasHeight, Math.min(Math.ceil(width * scaleHeight), canvasWidth)];
}

/** The picture in the middle of a black canvas. */
function centred(content, width, height) {
  const canvas = new Uint8Array(3 * width * height);
  const top = (height - content.height) >> 1;
  const left = (width - content.width) >> 1;
  for (let y = 0; y < content.height; y++) {
    const row = content.data.subarray(3 * y * content.width, 3 * (y + 1) * content.width);
    canvas.set(row, 3 * ((top + y) * width + left));
  }
  return canvas;
}

function cut(canvas, width, top, left, side) {
  const pixels = new Uint8Array(3 * side * side);
  for (let y = 0; y < side; y++) {
    const start = 3 * ((top + y) * width + left);
    pixels.set(canvas.subarray(start, start + 3 * side), 3 * y * side);
  }
  return pixels;
}
