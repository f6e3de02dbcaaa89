/** Against the real server; EDGECRITIC holds the command that runs it, as a JSON array. */

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { startSidecar } from '../src/sidecar.js';

const command = JSON.parse(process.env.EDGECRITIC ?? '["edgecritic"]');

test('it is ready, answers its own client only, and ends when it is told', async () => {
  const sidecar = await startSidecar({ command });
  assert.match(sidecar.version, /^\d+\./);
  assert.equal((await sidecar.client.health()).status, 'ok');
  const [model] = await sidecar.client.models();
  assert.equal(model.id, 'edgecritic-embedded');
  const stranger = await fetch(`http://127.0.0.1:${sidecar.port}/v1/models`);
  assert.equal(stranger.status, 401);
  await sidecar.stop();
  await assert.rejects(sidecar.client.health(), { status: 0 });
});

test('what keeps it from starting is told', async () => {
  await assert.rejects(startSidecar({ command: '/nowhere/edgecritic' }), (error) => {
    assert.match(error.message, /is not ready: .*ENOENT/);
    assert.match(error.hint, /pip install/);
    return true;
  });
  await assert.rejects(startSidecar({ command, args: ['--bundle', '/nowhere'] }), (error) => {
    assert.match(error.message, /it ended with status 1/);
    assert.match(error.hint, /nowhere/);
    return true;
  });
});

test('one that takes too long is ended', async () => {
  const slow = [process.execPath, '-e', 'setTimeout(() => {}, 60000)', '--'];
  await assert.rejects(startSidecar({ command: slow, timeout: 300 }), /is not ready/);
});

test('it ends with an app that is killed', async () => {
  const module = fileURLToPath(new URL('../src/sidecar.js', import.meta.url));
  const app = spawn(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      `import { startSidecar } from ${JSON.stringify(module)};
       const { pid } = await startSidecar({ command: ${JSON.stringify(command)} });
       console.log(pid);`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const pid = Number(await new Promise((done) => app.stdout.once('data', done)));
  assert.ok(alive(pid));
  app.kill('SIGKILL');
  for (let waited = 0; alive(pid) && waited < 300; waited++) await sleep(100);
  assert.ok(!alive(pid));
});

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
