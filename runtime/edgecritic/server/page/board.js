/** The results, one column for each critic, as they come. */

import { cost, failure, head, sentence } from './cards.js';
import { quantBeside } from './critics.js';
import { byId, el, letter } from './dom.js';

const STAGES = {
  waiting: 'Waiting for its turn',
  asked: 'Judging',
  loading: 'Loading the critic',
  image: 'Looking at the picture',
  prefill: 'Reading',
  token: 'Writing the reason',
};

/** One judgement of one critic. */
export class Part {
  #reason = '';

  /** @param {string | null} label @param {string[]} responses */
  constructor(label, responses) {
    this.responses = responses;
    this.stage = el('p', { class: 'stage' }, STAGES.waiting);
    this.head = el('div', { class: 'verdict' });
    this.reason = el('p', { class: 'reason' });
    this.cost = el('div');
    this.node = el('div', { class: 'part' });
    if (label) this.node.append(el('p', { class: 'about' }, label));
    this.node.append(this.stage, this.head, this.reason, this.cost);
  }

  /** @param {import('./client.js').Progress | { stage: 'asked' }} progress */
  progress({ stage, done, total }) {
    const counted = stage === 'prefill' && total ? ` ${done ?? 0} of ${total} tokens` : '';
    this.stage.textContent = (STAGES[stage] ?? stage) + counted;
    this.stage.classList.add('busy');
  }

  verdict(result) {
    this.head.replaceChildren(head(result, this.responses));
  }

  /** A piece of the reason. */
  text(piece) {
    this.#reason += piece;
    this.reason.textContent = this.#reason.trimStart();
    this.reason.classList.add('writing');
  }

  /** The whole result, or `{ error }`. */
  finish(result) {
    this.stage.remove();
    this.reason.classList.remove('writing');
    if (result.error) {
      this.head.replaceChildren(failure(result.error));
      return;
    }
    this.verdict(result);
    if (result.rationale) this.reason.textContent = result.rationale.trim();
    this.cost.replaceChildren(cost(result));
  }

  /** What was known stays; the rest will not come. */
  stop() {
    this.reason.classList.remove('writing');
    this.stage.classList.remove('busy');
    this.stage.textContent = this.head.hasChildNodes() ? 'Stopped' : 'Stopped before a verdict';
  }
}

/** @param {import('./task.js').Task} task */
const labels = ({ kind, responses }) =>
  kind === 'score' && responses.length > 1
    ? responses.map((response, index) => `${letter(index)}: ${response}`)
    : [null];

/**
 * Begin anew.
 * @param {{ id: string, quant: string }[]} critics
 * @param {import('./task.js').Task} task
 * @returns {Part[][]} the parts of each critic
 */
export function begin(critics, task) {
  byId('empty').hidden = true;
  byId('summary').hidden = true;
  const columns = critics.map(({ id, quant }) => {
    const parts = labels(task).map((label) => new Part(label, task.responses));
    const title = el('h3', {}, id, el('span', { class: 'quiet' }, ` ${quantBeside(id, quant)}`));
    const node = el('article', { class: 'column' }, title, ...parts.map((part) => part.node));
    node.style.setProperty('--rows', parts.length + 1); // so that parts stand side by side
    return { node, parts };
  });
  byId('board').replaceChildren(...columns.map((column) => column.node));
  byId('board').classList.toggle('several', critics.length > 1);
  return columns.map((column) => column.parts);
}

/** Whether several critics say the same. */
export function summarize(outcomes) {
  const summary = byId('summary');
  summary.hidden = outcomes.length < 2;
  if (summary.hidden) return;
  const said = outcomes.map(({ results }) => sentence(results));
  const same = new Set(said).size === 1;
  const all = said.length === 2 ? 'Both critics' : `All ${said.length} critics`;
  summary.classList.toggle('same', same);
  summary.textContent = same
    ? `${all} agree: ${said[0]}`
    : (distance(outcomes) ?? `The critics differ: ${said.join(' / ')}`);
}

/** Scores of one response rarely are the same; how far they lie apart says more. */
function distance(outcomes) {
  const found = outcomes.map(({ results }) => results[0].score);
  if (outcomes[0].results.length > 1 || found.some((score) => typeof score !== 'number')) return null;
  const [low, high] = [Math.min(...found), Math.max(...found)];
  return `Scored from ${low.toFixed(1)} to ${high.toFixed(1)}: ${(high - low).toFixed(1)} apart`;
}
