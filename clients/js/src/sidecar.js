/** Starts `edgecritic serve` beside a Node or Electron app, and ends it with the app. */

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

import { Client, ServerError } from './client.js';

const KEPT_LINES = 20;

/** @typedef {import('node:stream').Readable} Readable */

/**
 * @typedef {object} SidecarOptions
 * @property {string | string[]} [command] the program, with what stands in front of `serve`;
 *   `edgecritic` when left out
 * @property {string[]} [args] more options of `edgecritic serve`, such as `--bundle DIR`
 * @property {NodeJS.ProcessEnv} [env] the app's own when left out
 * @property {number} [timeout] milliseconds until it must be ready; 60000 when left out
 * @property {(line: string) => void} [onLog] is given what it writes to stderr
 */

/** A running server; `client` talks to it. */
export class Sidecar {
  #child;

  /**
   * @param {import('node:child_process').ChildProcess} child
   * @param {{ port: number, token: string, pid: number, version: string }} ready
   * @param {Promise<number | null>} exited
   */
  constructor(child, ready, exited) {
    this.#child = child;
    this.port = ready.port;
    this.token = ready.token;
    this.pid = ready.pid;
    this.version = ready.version;
    /** Resolves with the exit status, whoever ended it; null after a signal. */
    this.exited = exited;
    this.client = new Client(`http://127.0.0.1:${ready.port}`, { token: ready.token });
  }

  /**
   * End it: politely at first.
   * @param {{ patience?: number }} [options] milliseconds until it is killed
   */
  async stop({ patience = 5000 } = {}) {
    this.#child.kill();
    const killer = setTimeout(() => this.#child.kill('SIGKILL'), patience);
    await this.exited;
    clearTimeout(killer);
  }

  async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    await this.stop();
  }
}

/**
 * Start a server on a free port, which ends when this process does, however that comes about.
 * @param {SidecarOptions} [options]
 * @returns {Promise<Sidecar>} as soon as it answers; models are loaded when they are asked for
 * @throws {ServerError} it is not installed, ends at once, or is not ready in time
 */
export async function startSidecar({
  command = 'edgecritic',
  args = [],
  env = process.env,
  timeout = 60_000,
  onLog = () => {},
} = {}) {
  const [program, ...before] = [command].flat();
  const own = ['serve', '--port', '0', '--parent-pid', String(process.pid)];
  const child = spawn(program, [...before, ...own, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    windowsHide: true,
  });
  /** @type {string[]} */
  const said = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    said.push(line);
    if (said.length > KEPT_LINES) said.shift();
    onLog(line);
  });
  /** @type {Promise<number | null>} */
  const exited = new Promise((resolve) => {
    child.once('close', resolve); // behind the last line of stderr
    child.once('error', () => resolve(null));
  });
  const late = setTimeout(() => child.kill('SIGKILL'), timeout);
  try {
    const ready = await readyLine(child, exited);
    return new Sidecar(child, JSON.parse(ready), exited);
  } catch (cause) {
    throw new ServerError(`${program} is not ready: ${/** @type {Error} */ (cause).message}`, {
      hint: said.join('\n') || "pip install 'edgecritic[llama,serve]', or name it as `command`",
      cause,
    });
  } finally {
    clearTimeout(late);
  }
}

/**
 * The line that says it is ready; what follows on stdout is read and dropped.
 * @param {import('node:child_process').ChildProcessByStdio<null, Readable, Readable>} child
 * @param {Promise<number | null>} exited
 * @returns {Promise<string>}
 */
function readyLine(child, exited) {
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', resolve);
    child.once('error', reject);
    exited.then((status) => reject(new Error(`it ended with status ${status}`)));
  });
}
