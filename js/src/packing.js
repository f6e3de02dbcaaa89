/**
 * Vision features in the order the language model reads them, as edgecritic.vision.packing makes
 * them in Python: base view, then the grid stitched, unpadded, limited, a newline behind each row.
 */

/** @typedef {import('./tiling.js').Geometry} Geometry */
/** @typedef {import('./tiling.js').TiledPicture} TiledPicture */

/**
 * @param {Float32Array[]} features for each tile (patches, d), projected
 * @param {TiledPicture} tiled the picture the features belong to
 * @param {Geometry} geometry
 * @param {Float32Array} newline (d,)
 * @returns {{ data: Float32Array, length: number }} (length, d)
 */
export function packFeatures(features, tiled, geometry, newline) {
  const d = newline.length;
  const side = patchesPerSide(geometry);
  const wrong = features.find((tile) => tile.length !== side * side * d);
  if (wrong || features.length !== tiled.tiles.length) {
    throw new Error(`features of ${features.length} tiles do not fit the bundle's geometry`);
  }
  const content = unpadded(features.slice(1), tiled, side, d);
  const [rows, cols] = limited(content.rows, content.cols, geometry);
  const shrunk = resized(content, rows, cols, d);
  const base = side * side;
  const length = base + rows * (cols + 1);
  const data = new Float32Array(length * d);
  data.set(features[0]);
  for (let row = 0; row < rows; row++) {
    const start = (base + row * (cols + 1)) * d;
    data.set(shrunk.subarray(row * cols * d, (row + 1) * cols * d), start);
    data.set(newline, start + cols * d);
  }
  return { data, length };
}

export function patchesPerSide(geometry) {
  return Math.floor(geometry.tile_size / geometry.patch_size);
}

/** The grid's features as one picture, without those of the canvas around the content. */
function unpadded(grid, tiled, side, d) {
  const [allRows, allCols] = [tiled.rows * side, tiled.cols * side];
  const [top, left] = margins(tiled.height, tiled.width, allRows, allCols);
  const rows = Math.max(0, allRows - 2 * top);
  const cols = Math.max(0, allCols - 2 * left);
  const data = new Float32Array(rows * cols * d);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) {
      const [y, x] = [row + top, col + left];
      const tile = grid[Math.floor(y / side) * tiled.cols + Math.floor(x / side)];
      const at = ((y % side) * side + (x % side)) * d;
      data.set(tile.subarray(at, at + d), (row * cols + col) * d);
    }
  }
  return { data, rows, cols };
}

/** Feature rows to drop above and below, and columns to drop left and right. */
function margins(height, width, rows, cols) {
  if (width / height > cols / rows) {
    return [Math.floor((rows - Math.trunc(sevenDigits(height * (cols / width)))) / 2), 0];
  }
  return [0, Math.floor((cols - Math.trunc(sevenDigits(width * (rows / height)))) / 2)];
}

function sevenDigits(value) {
  return Number(value.toFixed(7));
}

/** Rows and columns left of a grid that holds more than `anyres_max` tiles' features. */
function limited(rows, cols, geometry) {
  if (geometry.anyres_max === null) return [rows, cols];
  const most = geometry.anyres_max * patchesPerSide(geometry) ** 2;
  const ratio = Math.sqrt((rows * cols) / most);
  if (ratio <= 1.1) return [rows, cols];
  return [Math.max(1, Math.floor(rows / ratio)), Math.max(1, Math.floor(cols / ratio))];
}

/** Bilinear by half-pixel centres without antialiasing, rounded to float32 where Python rounds. */
function resized(source, rows, cols, d) {
  if (source.rows === rows && source.cols === cols) return source.data;
  const [vertical, horizontal] = [neighbours(rows, source.rows), neighbours(cols, source.cols)];
  const width = source.cols * d;
  const line = new Float32Array(width);
  const target = new Float32Array(rows * cols * d);
  for (let row = 0; row < rows; row++) {
    blend(line, 0, source.data, vertical[row], width, width);
    for (let col = 0; col < cols; col++) {
      blend(target, (row * cols + col) * d, line, horizontal[col], d, d);
    }
  }
  return target;
}

function blend(target, at, source, { first, second, weight }, stride, length) {
  const rest = Math.fround(1 - weight);
  for (let k = 0; k < length; k++) {
    const one = Math.fround(source[first * stride + k] * rest);
    target[at + k] = one + Math.fround(source[second * stride + k] * weight);
  }
}

/** The two source indices that every target index lies between, and the second one's weight. */
function neighbours(nTarget, nSource) {
  const step = Math.fround(nSource / nTarget);
  return Array.from({ length: nTarget }, (_, index) => {
    const position = Math.fround(Math.max(step * (index + 0.5) - 0.5, 0));
    const first = Math.trunc(position);
    const second = Math.min(first + 1, nSource - 1);
    return { first, second, weight: Math.fround(position - first) };
  });
}
