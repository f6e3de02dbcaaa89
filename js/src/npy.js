/** Vectors as numpy saves them. Source of the format: numpy.lib.format. */

const MAGIC = [0x93, ...new TextEncoder().encode('NUMPY')];

/**
 * @param {Uint8Array} bytes an .npy file of one dimension, little-endian float32
 * @returns {Float32Array}
 */
export function readVector(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const version = bytes[6];
  if (MAGIC.some((byte, k) => bytes[k] !== byte) || ![1, 2].includes(version)) {
    throw new Error('this is no .npy file of version 1 or 2');
  }
  const start = version === 1 ? 10 : 12;
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const header = new TextDecoder('latin1').decode(bytes.subarray(start, start + length));
  const shape = /'shape': \((\d+),\)/.exec(header);
  if (!shape || !header.includes("'descr': '<f4'")) {
    throw new Error(`this .npy file holds no float32 vector: ${header.trim()}`);
  }
  const values = new Float32Array(Number(shape[1]));
  for (let k = 0; k < values.length; k++) values[k] = view.getFloat32(start + length + 4 * k, true);
  return values;
}
