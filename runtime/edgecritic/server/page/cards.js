/** What a result looks like: a score, a preference, a ranking, or why there is none. */

import { levelColumns, rowBars, stackedBar } from './bars.js';
import { el, letter, percent, seconds, unseen } from './dom.js';

const KINDS = { first: 'one', second: 'two', tie: 'tie' };
const LABELS = { first: 'A', second: 'B', tie: 'Tie' };
const UNSURE = 'The critic only wrote its verdict; how sure it is, is not known.';
const PARTLY = 'The endpoint lists the most probable tokens only: the rest counts as nothing.';
const OUTCOMES = ['first', 'tie', 'second'];

/** One line that says it all, for headings, screen readers and the history. */
export function headline(result) {
  if (result.error) return result.error.message;
  if (result.status === 'unparsed') return 'No verdict could be read';
  if ('score' in result) {
    return result.score === null ? 'Stopped before a verdict' : `Scored ${result.score.toFixed(1)}`;
  }
  if ('order' in result) {
    return result.order.length ? bests(result) : 'Stopped before a verdict';
  }
  if (result.winner === null) return 'Stopped before a verdict';
  return result.winner === 'tie' ? 'A tie' : `${LABELS[result.winner]} is better`;
}

/** `headline` of all results of one critic: scores of several responses stand behind their letters. */
export function sentence(results) {
  if (results.length === 1) return headline(results[0]);
  const brief = (result) => result.score?.toFixed(1) ?? headline(result);
  return `Scored ${results.map((result, index) => `${letter(index)} ${brief(result)}`).join(', ')}`;
}

/** Whoever leads a ranking; several may share the lead. */
function bests({ order, rewards }) {
  const leading = order.filter((index) => rewards[index] === rewards[order[0]]).map(letter);
  if (leading.length === 1) return `${leading[0]} is best`;
  return `${leading.slice(0, -1).join(', ')} and ${leading.at(-1)} are best`;
}

/** @param {object} result a Verdict, Preference or Ranking, with or without its reason */
export function head(result, responses) {
  if ('order' in result) return rankingHead(result, responses);
  if (result.status === 'unparsed') return unreadable(result);
  return 'score' in result ? scoreHead(result) : preferenceHead(result, responses);
}

function scoreHead({ score, level, probabilities, confidence, basis }) {
  if (score === null) return el('div', {}, el('h4', { class: 'big' }, 'Stopped before a verdict'));
  const levels = Object.keys(probabilities).map(Number);
  const high = levels.length ? Math.max(...levels) : null;
  const title = el(
    'h4',
    { class: 'big score' },
    score.toFixed(1),
    high !== null && el('small', { 'aria-hidden': 'true' }, ` / ${high}`),
    high !== null && unseen(` of ${high}`),
  );
  return el(
    'div',
    {},
    title,
    el('p', { class: 'quiet' }, confidence === null ? UNSURE : `most likely ${level}, at ${percent(confidence)}`),
    basis === 'top_logprobs' && el('p', { class: 'quiet' }, PARTLY),
    levels.length > 0 && levelColumns(probabilities, score),
  );
}

function preferenceHead({ winner, probabilities, confidence, consistent, orders, basis }, responses) {
  const title = el('h4', { class: 'big' }, headline({ winner }));
  if (winner === null) return el('div', {}, title);
  const rows = OUTCOMES.map((outcome) => ({
    label: LABELS[outcome],
    kind: KINDS[outcome],
    probability: probabilities[outcome] ?? 0,
    chosen: outcome === winner,
  }));
  return el(
    'div',
    {},
    title,
    winner !== 'tie' && el('p', { class: 'winner' }, responses[winner === 'first' ? 0 : 1]),
    confidence === null && el('p', { class: 'quiet' }, UNSURE),
    basis === 'top_logprobs' && el('p', { class: 'quiet' }, PARTLY),
    rowBars(rows),
    positions(consistent, orders),
  );
}

/** Whether the verdict depends on which response is shown first. */
function positions(consistent, orders) {
  const said = {
    true: ['agree', 'Both orders agree'],
    false: ['differ', 'The verdict changes with the order'],
    null: ['single', 'Judged in one order only'],
  }[String(consistent)];
  const list = el('ul', { class: 'orders' });
  for (const order of orders) {
    const parts = OUTCOMES.map((outcome) => ({
      kind: KINDS[outcome],
      label: LABELS[outcome],
      probability: order.probabilities[outcome] ?? 0,
    }));
    const label = `${LABELS[order.shown_first]} shown first`;
    list.append(el('li', {}, el('span', { class: 'quiet' }, label), stackedBar(parts)));
  }
  return el('div', { class: 'positions' }, el('p', { class: `chip ${said[0]}` }, said[1]), list);
}

function rankingHead(ranking, responses) {
  const title = el('h4', { class: 'big' }, headline(ranking));
  const { order, rewards, preferences } = ranking;
  if (order.length === 0) return el('div', {}, title);
  const known = rewards.filter((reward) => reward !== null);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const list = el('ol', { class: 'ranking' });
  for (const index of order) {
    const bar = el('span', { class: 'fill one' });
    bar.style.setProperty('--p', high > low ? (rewards[index] - low) / (high - low) : 1);
    list.append(
      el(
        'li',
        {},
        el('span', { class: 'badge' }, letter(index)),
        el('span', { class: 'said' }, responses[index] || 'empty'),
        el('span', { class: 'track', 'aria-hidden': 'true' }, bar),
        el('span', { class: 'number' }, rewards[index]?.toFixed(2)),
      ),
    );
  }
  const unit = preferences.length > 0 ? 'Wins minus losses over all pairs, in both orders' : 'Scores';
  const pairs = preferences.length > 0 && pairTable(preferences, order);
  return el('div', {}, title, list, el('p', { class: 'quiet' }, unit), pairs);
}

/** P(row is better than column), for every pair. */
function pairTable(preferences, order) {
  const found = new Map();
  for (const [i, j, { probabilities, consistent }] of preferences) {
    found.set(`${i} ${j}`, [probabilities.first, consistent]);
    found.set(`${j} ${i}`, [probabilities.second, consistent]);
  }
  const scope = (kind, index) => el('th', { scope: kind }, letter(index));
  const cell = (row, column) => {
    const [p, consistent] = found.get(`${row} ${column}`) ?? [];
    if (row === column) return el('td', {}, unseen('the same'));
    if (p === undefined) return el('td', {}, '–', unseen('not compared'));
    const node = el('td', {}, percent(p), consistent === false && el('abbr', {}, '*'));
    node.style.setProperty('--p', p);
    return node;
  };
  const body = order.map((row) =>
    el('tr', {}, scope('row', row), ...order.map((column) => cell(row, column))),
  );
  const differ = preferences.some(([, , { consistent }]) => consistent === false);
  return el(
    'details',
    { class: 'pairs' },
    el('summary', {}, 'Every pair'),
    el(
      'table',
      {},
      el('caption', {}, `How probably the row is better than the column${differ ? '; * changes with the order' : ''}`),
      el('thead', {}, el('tr', {}, el('td'), ...order.map((index) => scope('col', index)))),
      el('tbody', {}, ...body),
    ),
  );
}

function unreadable({ mass }) {
  return el(
    'div',
    {},
    el('h4', { class: 'big' }, 'No verdict could be read'),
    el(
      'p',
      { class: 'quiet' },
      `The critic put ${percent(mass ?? 0)} of its probability on possible verdicts; half is needed.`,
    ),
  );
}

/** Time and tokens. */
export function cost({ timings, usage, detail }) {
  const { image, verdict, rationale } = timings;
  const spent = [
    ['picture', image],
    ['verdict', verdict],
    ['reason', rationale],
  ].filter(([, time]) => time > 0);
  const parts = spent.map(([name, time]) => `${name} ${seconds(time)}`).join(', ');
  const tokens = [
    `${usage.prompt_tokens} read`,
    `${usage.decoded_tokens} decoded`,
    usage.reused_tokens > 0 && `${usage.reused_tokens} known already`,
    usage.rationale_tokens > 0 && `${usage.rationale_tokens} written`,
  ].filter(Boolean);
  return el(
    'dl',
    { class: 'cost' },
    detail === 'reduced' && el('div', {}, el('dt', {}, 'Picture'), el('dd', {}, 'seen in less detail')),
    el('div', {}, el('dt', {}, 'Time'), el('dd', {}, seconds(image + verdict + rationale))),
    spent.length > 1 && el('div', {}, el('dt', {}, 'of which'), el('dd', {}, parts)),
    el('div', {}, el('dt', {}, 'Tokens'), el('dd', {}, tokens.join(', '))),
  );
}

/** @param {{ message: string, hint?: string }} error */
export function failure({ message, hint }) {
  return el(
    'div',
    { class: 'failure' },
    el('h4', {}, 'Not judged'),
    el('p', {}, message),
    hint && el('p', { class: 'quiet' }, hint),
  );
}
