/** Is the server there? Asked now and then, more often while it is not. */

import { ServerError } from './client.js';
import { byId } from './dom.js';

const CALM = 15_000;
const ANXIOUS = 2_000;

/**
 * @param {import('./client.js').Client} client
 * @param {import('./critics.js').CriticList} critics
 * @returns {() => void} looks at once, whenever something may have changed
 */
export function watch(client, critics) {
  let timer;
  let known = '';
  let looking = false;

  async function look() {
    if (looking) return;
    looking = true;
    clearTimeout(timer);
    let there = false;
    try {
      const { version, models } = await client.health();
      const ids = models.map((model) => model.id).join(' ');
      if (known !== ids) critics.show(await client.models());
      known = ids;
      critics.states(models);
      say('ready', `ready, version ${version}`);
      there = true;
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      say('gone', error.status === 401 ? NO_TOKEN : GONE);
    } finally {
      looking = false;
      timer = setTimeout(look, there ? CALM : ANXIOUS);
    }
  }

  document.addEventListener('visibilitychange', () => document.hidden || look());
  look();
  return look;
}

const GONE = 'The server does not answer. Start it again: edgecritic serve';
const NO_TOKEN = 'The server wants a token: open the whole address that it printed';

function say(state, text) {
  const node = byId('server');
  if (node.textContent === text) return; // or screen readers would repeat it
  node.dataset.state = state;
  node.textContent = text;
}
