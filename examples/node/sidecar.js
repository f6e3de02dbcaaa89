/**
 * Compares two answers by a server of its own, which ends with this program.
 *
 *     node sidecar.js PICTURE QUESTION FIRST SECOND
 */

import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

// In a project of your own: from 'edgecritic-client' and 'edgecritic-client/sidecar'.
import { ServerError, dataUrl } from '../../clients/js/src/client.js';
import { startSidecar } from '../../clients/js/src/sidecar.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { command: { type: 'string', default: 'edgecritic' } },
});
const [picture, question, first, second] = positionals;
if (second === undefined) {
  console.error('usage: node sidecar.js [--command PATH] PICTURE QUESTION FIRST SECOND');
  process.exit(2);
}

let sidecar;
try {
  const image = await dataUrl(await readFile(picture));
  sidecar = await startSidecar({ command: values.command.split(' ') });
  const preference = await sidecar.client.compare(
    { image, question, first, second },
    {
      signal: AbortSignal.timeout(300_000),
      onProgress: ({ stage }) => stage !== 'token' && console.error(`... ${stage}`),
      onVerdict: ({ winner, probabilities, consistent }) => {
        console.log(`winner: ${winner}`, probabilities, consistent ? 'in both orders' : '');
      },
      onText: (text) => process.stdout.write(text),
    },
  );
  console.log(`\n${preference.usage.prompt_tokens} tokens read`);
} catch (error) {
  console.error(error instanceof ServerError ? `${error.message}\n  ${error.hint}` : error.message);
  process.exitCode = 1;
} finally {
  await sidecar?.stop();
}
