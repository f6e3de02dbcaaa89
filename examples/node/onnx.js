/**
 * Compares two answers with an ONNX bundle, in this process and without Python.
 *
 *     node onnx.js BUNDLE PICTURE QUESTION FIRST SECOND
 */

// In a project of your own: from 'edgecritic'. Its packages lie in js/node_modules.
import { BundleError, Critic } from '../../js/src/index.js';

const [bundle, picture, question, first, second] = process.argv.slice(2);
if (second === undefined) {
  console.error('usage: node onnx.js BUNDLE PICTURE QUESTION FIRST SECOND');
  process.exit(2);
}

const critic = await Critic.load(bundle).catch((error) => {
  if (!(error instanceof BundleError)) throw error;
  console.error(`${error.message}\n  ${error.hint}`);
  process.exit(1);
});
try {
  const preference = await critic.compare(picture, { question, responses: [first, second] });
  console.log(JSON.stringify(preference, null, 2));
  for (const response of [first, second]) {
    const verdict = await critic.score(picture, { question, responses: [response] });
    console.log(`${verdict.status}: ${verdict.score ?? '-'} for ${response}`);
  }
} finally {
  await critic.dispose();
}
