/** Picture files as upright RGB; needs sharp, which transformers.js installs. */

/** @typedef {import('./resample.js').Picture} Picture */

/**
 * Decode a picture as the runtime does in Python: EXIF orientation applied, transparency on white,
 * colours as they are stored.
 * @param {string | Uint8Array} source path or bytes of a PNG, JPEG or WebP file
 * @returns {Promise<Picture>}
 */
export async function loadPicture(source) {
  const { default: sharp } = await import('sharp');
  const { data, info } = await sharp(source)
    .rotate()
    .ensureAlpha()
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== 4) throw new Error(`a picture of ${info.channels} channels`);
  return { data: onWhite(data), width: info.width, height: info.height };
}

/** Source: Pillow, src/libImaging/AlphaComposite.c, over an opaque background. */
function onWhite(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let source = 0, target = 0; source < rgba.length; source += 4, target += 3) {
    const alpha = rgba[source + 3];
    for (let k = 0; k < 3; k++) {
      const blended = rgba[source + k] * alpha * 128 + 255 * (255 - alpha) * 128;
      rgb[target + k] = alpha === 255 ? rgba[source + k] : scaledDown(blended);
    }
  }
  return rgb;
}

/** Division by 255 * 128, rounded as Pillow's integers round it. */
function scaledDown(value) {
  const raised = value + (0x80 << 7);
  return ((raised >> 8) + raised) >> 8 >> 7;
}
