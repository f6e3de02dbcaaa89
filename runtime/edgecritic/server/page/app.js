/** The page: a task in, judgements out, one critic after the other so that their times compare. */

import { begin, summarize } from './board.js';
import { headline, sentence } from './cards.js';
import { Client, ServerError, dataUrl } from './client.js';
import { CriticList } from './critics.js';
import { button, byId, download, el } from './dom.js';
import * as history from './history.js';
import { examplePicture } from './picture.js';
import { watch } from './server.js';
import { TaskForm } from './task.js';
import { token } from './token.js';

const client = new Client(new URL('.', document.baseURI), { token: token() });
const form = new TaskForm();
const critics = new CriticList();
const KEEP = 'edgecritic.keep-history';

/** @type {AbortController | null} */
let running = null;
/** @type {import('./history.js').Judgement | null} what is shown */
let shown = null;

async function judge() {
  const chosen = critics.chosen;
  if (chosen.length === 0) {
    form.complain(critics.models.length ? 'Choose at least one critic.' : 'There is no critic yet.');
    return;
  }
  const { task, pictures } = form;
  const { picture } = pictures;
  running = new AbortController();
  const { signal } = running;
  form.judging = true;
  byId('results').setAttribute('aria-busy', 'true');
  byId('export').hidden = true;
  const outcomes = chosen.map(({ id, edgecritic: { quant } }) => ({
    critic: { id, quant },
    results: [],
  }));
  shown = { when: new Date().toISOString(), task, picture, outcomes };
  const columns = begin(outcomes.map(({ critic }) => critic), task);
  if (matchMedia('(max-width: 60rem)').matches) byId('results').scrollIntoView();
  announce('Judging');
  try {
    const image = picture && (await dataUrl(picture.blob));
    for (const [index, { critic, results }] of outcomes.entries()) {
      for (const [number, part] of columns[index].entries()) {
        const request = asked(task, number, image, critic.id);
        results.push(await one(task.kind, request, part, signal));
      }
    }
    finish();
  } catch (error) {
    if (!signal.aborted) throw error;
    for (const part of columns.flat().filter((part) => part.stage.isConnected)) part.stop();
    announce('Stopped');
  } finally {
    running = null;
    form.judging = false;
    byId('results').setAttribute('aria-busy', 'false');
    lookAtServer(); // the critic is loaded now, or the server is gone
  }
}

/** One request: its result, or `{ error }`; only an abort is thrown. */
async function one(kind, request, part, signal) {
  part.progress({ stage: 'asked' });
  const listeners = {
    onProgress: (progress) => part.progress(progress),
    onVerdict: (verdict) => {
      part.verdict(verdict);
      announce(headline(verdict));
      if (request.rationale) part.progress({ stage: 'token' });
    },
    onText: (text) => part.text(text),
  };
  let result;
  try {
    result = await client[kind](request, { signal, ...(kind !== 'rank' && listeners) });
  } catch (error) {
    if (!(error instanceof ServerError)) throw error;
    result = { error: { message: error.message, hint: error.hint } };
  }
  part.finish(result);
  return result;
}

function asked({ kind, question, responses, reference, rubric, rationale }, number, image, model) {
  const base = { image, question, reference, rubric, model };
  if (kind === 'rank') return { ...base, responses };
  if (kind === 'score') return { ...base, response: responses[number], rationale };
  const [first, second] = responses;
  return { ...base, first, second, rationale };
}

function finish() {
  const { outcomes } = shown;
  summarize(outcomes);
  byId('export').hidden = false;
  announce(byId('summary').hidden ? said(shown) : byId('summary').textContent);
  const judged = outcomes.some(({ results }) => results.some((result) => !result.error));
  if (judged && byId('keep').checked) history.keep(shown).then(list);
}

/** @param {import('./history.js').Judgement} judgement */
function restore(judgement) {
  if (running) return;
  shown = judgement;
  form.fill(judgement.task, judgement.picture);
  const { task, outcomes } = judgement;
  const columns = begin(outcomes.map(({ critic }) => critic), task);
  outcomes.forEach(({ results }, index) => {
    results.forEach((result, number) => columns[index][number].finish(result));
  });
  summarize(outcomes);
  byId('export').hidden = false;
  byId('results').scrollIntoView({ block: 'nearest' });
}

const said = ({ outcomes: [{ results }] }) => sentence(results);

async function list() {
  const entries = await history.all();
  byId('history').hidden = entries.length === 0;
  byId('entries').replaceChildren(...entries.map(entry));
}

function entry(judgement) {
  const { id, when, task, picture, outcomes } = judgement;
  const image = picture && el('img', { alt: '', src: URL.createObjectURL(picture.blob) });
  image?.addEventListener('load', () => URL.revokeObjectURL(image.src), { once: true });
  const several = outcomes.length > 1 ? ` by ${outcomes.length} critics` : '';
  const open = button(
    el(
      'span',
      { class: 'entry-text' },
      el('span', { class: 'entry-question' }, task.question),
      el('span', { class: 'quiet' }, `${moment(when)} · ${said(judgement)}${several}`),
    ),
    { class: 'entry' },
    () => restore(judgement),
  );
  open.prepend(image ?? el('span', { class: 'no-picture' }));
  const remove = button(el('span', { 'aria-hidden': 'true' }, '×'), { class: 'small' }, async () => {
    await history.forget(id);
    await list();
  });
  remove.setAttribute('aria-label', `Forget: ${task.question}`);
  return el('li', {}, open, remove);
}

/** The time of today's, the date of older ones. */
function moment(when) {
  const date = new Date(when);
  return date.toDateString() === new Date().toDateString()
    ? date.toLocaleTimeString([], { timeStyle: 'short' })
    : date.toLocaleDateString([], { dateStyle: 'medium' });
}

/** What a file says of a judgement: everything but the picture's bytes, which their hash names. */
async function exported({ when, task, picture, outcomes }) {
  const image = picture && { name: picture.name, type: picture.blob.type, bytes: picture.blob.size };
  if (image && globalThis.crypto?.subtle) {
    const digest = await crypto.subtle.digest('SHA-256', await picture.blob.arrayBuffer());
    image.sha256 = [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, '0')).join('');
  }
  return { when, image, ...task, outcomes };
}

function announce(text) {
  byId('announce').textContent = text;
}

const stamp = (when) => when.replace(/[:.]/g, '-');

form.addEventListener('judge', judge);
byId('cancel').addEventListener('click', () => running?.abort());
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') running?.abort();
});
byId('export').addEventListener('click', async () => {
  download(`edgecritic-${stamp(shown.when)}.json`, await exported(shown));
});
byId('export-all').addEventListener('click', async () => {
  const judgements = await Promise.all((await history.all()).map(exported));
  download(`edgecritic-history-${stamp(new Date().toISOString())}.json`, { judgements });
});
byId('clear').addEventListener('click', async () => {
  await history.clear();
  await list();
});
byId('keep').checked = localStorage.getItem(KEEP) !== 'no';
byId('keep').addEventListener('change', () => {
  localStorage.setItem(KEEP, byId('keep').checked ? 'yes' : 'no');
});
byId('example').addEventListener('click', async () => {
  const responses = ['It is a red circle.', 'It is a blue square.'];
  const task = { question: 'What is shown?', responses, reference: null, rubric: null };
  form.fill({ ...task, kind: 'compare', rationale: true }, await examplePicture());
  form.form.requestSubmit();
});
const lookAtServer = watch(client, critics);
list();
