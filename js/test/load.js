/**
 * Prints how `Critic.load` refuses each of some folders.
 *
 *     node test/load.js FOLDER...
 */

import { BundleError, Critic } from '../src/index.js';

const told = [];
for (const folder of process.argv.slice(2)) {
  try {
    await (await Critic.load(folder)).dispose();
    told.push(null);
  } catch (error) {
    const { message, hint } = error;
    told.push({ message, hint, expected: error instanceof BundleError });
  }
}
process.stdout.write(JSON.stringify(told));
