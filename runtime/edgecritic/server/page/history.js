/** Earlier judgements, kept in this browser's IndexedDB and nowhere else. */

const STORE = 'judgements';
const MOST = 100;

/**
 * @typedef {object} Judgement
 * @property {number} id
 * @property {string} when ISO 8601
 * @property {import('./task.js').Task} task
 * @property {{ blob: Blob, name: string } | null} picture
 * @property {{ critic: { id: string, quant: string }, results: object[] }[]} outcomes
 */

/** @type {Promise<IDBDatabase> | null} */
let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open('edgecritic', 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(STORE, { keyPath: 'id', autoIncrement: true });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/** Run one request in a transaction of its own. */
async function run(mode, act) {
  const store = (await database()).transaction(STORE, mode).objectStore(STORE);
  return new Promise((resolve, reject) => {
    const request = act(store);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @returns {Promise<Judgement[]>} newest first; none where the browser keeps nothing */
export async function all() {
  try {
    return (await run('readonly', (store) => store.getAll())).reverse();
  } catch {
    return [];
  }
}

/** @param {Omit<Judgement, 'id'>} judgement */
export async function keep(judgement) {
  try {
    await run('readwrite', (store) => store.add(judgement));
    const old = (await all()).slice(MOST);
    for (const { id } of old) await forget(id);
  } catch {
    // A private window keeps nothing: the judgement itself was made.
  }
}

/** @param {number} id */
export const forget = (id) => run('readwrite', (store) => store.delete(id));

export const clear = () => run('readwrite', (store) => store.clear());
