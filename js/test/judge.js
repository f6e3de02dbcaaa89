/**
 * Does what a JSON file asks for and prints what comes out, for a comparison with Python.
 *
 *     node test/judge.js BUNDLE REQUEST.json
 */

import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import { Critic, loadPicture, pixelValues, pointwiseVerdict, preference, tile } from '../src/index.js';

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

async function seen(critic, { image, tasks, wording }) {
  const picture = await loadPicture(image);
  const { tiles } = tile(picture, critic.geometry);
  const { data } = await critic.features(picture);
  const task = tasks.find(({ responses }) => responses.length === 2);
  return {
    tiles: tiles.map(sha256),
    values: sha256(pixelValues(tiles[0], critic.geometry)),
    features: Array.from(data),
    joints: (await critic.logProbs(picture, tasks, wording)).map(({ joint }) => joint),
    compared: await critic.compare(picture, task),
  };
}

const [bundle, requestFile] = process.argv.slice(2);
const { pictures, pairwise, pointwise } = JSON.parse(await readFile(requestFile, 'utf8'));
const critic = await Critic.load(bundle);
const found = { pictures: [] };
for (const request of pictures) found.pictures.push(await seen(critic, request));
await critic.dispose();
found.pairwise = pairwise.map(({ joints, calibration }) => preference(joints, calibration));
found.pointwise = pointwise.map(({ joint, levels, calibration }) =>
  pointwiseVerdict(joint, levels, calibration),
);
process.stdout.write(JSON.stringify(found));
