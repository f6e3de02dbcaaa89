/** What a bundle says of itself, and whether its files are there. */

import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';

import { readVector } from './npy.js';

const COPY = 'copy or export the bundle again; `edgecritic models verify` checks all of it';

/** A bundle that is not there, is not whole, or cannot be judged with here. */
export class BundleError extends Error {
  /**
   * @param {string} message what is wrong, and where
   * @param {string} hint what mends it
   * @param {unknown} [cause]
   */
  constructor(message, hint, cause) {
    super(message, { cause });
    this.name = 'BundleError';
    this.hint = hint;
  }
}

/**
 * Read a bundle's settings; its other files are looked for, with the sizes that it states.
 *
 * @param {string} folder with critic.json
 * @throws {BundleError} nothing was loaded
 */
export async function readBundle(folder) {
  const root = path.resolve(folder);
  const manifest = await readJson(root, 'critic.json', {
    message: `there is no bundle at ${root}: it has no critic.json`,
    hint: 'give the folder of one bundle, such as bundles/onnx/variants/q8',
  });
  const files = Array.isArray(manifest.files) ? manifest.files : [];
  if (!files.every((file) => typeof file?.path === 'string')) {
    throw new BundleError(`${path.join(root, 'critic.json')} lists files without a path`, COPY);
  }
  if (!files.some((file) => file.path === 'prompts.json')) {
    throw new BundleError(
      `the bundle at ${root} is for other engines: critic.json lists no prompts.json`,
      'export the critic by `edgecritic export all ... --onnx q8`',
    );
  }
  for (const file of files) await checkSize(path.join(root, file.path), file.size);
  const dialect = await readJson(root, 'prompts.json');
  if (dialect.reason_first) {
    throw new BundleError(
      `the critic at ${root} gives its reason first (${dialect.name}), and no reason is generated here`,
      'judge with Python, or by `edgecritic serve`',
    );
  }
  const tokenizer = await readJson(root, 'tokenizer.json');
  const tokenizerConfig = await readJson(root, 'tokenizer_config.json');
  const newline = await readNewline(path.join(root, 'image_newline.npy'));
  return { root, manifest, dialect, tokenizer, tokenizerConfig, newline };
}

async function checkSize(file, size) {
  const found = await opened(file, stat);
  if (found.size !== size) {
    throw new BundleError(`${file} has ${found.size} bytes, and critic.json says ${size}`, COPY);
  }
}

async function readJson(root, name, missing) {
  const file = path.join(root, name);
  const text = await opened(file, (name) => readFile(name, 'utf8'), missing);
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new BundleError(`${file} is no JSON: ${error.message}`, COPY, error);
  }
  if (value === null || typeof value !== 'object') {
    throw new BundleError(`${file} holds no object`, COPY);
  }
  return value;
}

async function readNewline(file) {
  const bytes = await opened(file, readFile);
  try {
    return readVector(bytes);
  } catch (error) {
    throw new BundleError(`${file}: ${error.message}`, COPY, error);
  }
}

/** What `open` makes of a file; why not, in our words. */
async function opened(file, open, missing = { message: `${file} is missing`, hint: COPY }) {
  try {
    return await open(file);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(error.code)) {
      throw new BundleError(missing.message, missing.hint, error);
    }
    throw new BundleError(
      `${file} cannot be read: ${error.message}`,
      'check what it is and who may read it',
      error,
    );
  }
}
