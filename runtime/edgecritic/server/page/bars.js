/** Probabilities as bars. Each is also told in words: what is drawn is hidden from screen readers. */

import { el, percent } from './dom.js';

/** A bar that is as long as a probability. */
function fill(probability, kind) {
  const part = el('span', { class: `fill ${kind}` });
  part.style.setProperty('--p', probability);
  return part;
}

/**
 * Labelled probabilities, one below the other.
 * @param {{ label: string, kind: string, probability: number, chosen: boolean }[]} rows
 */
export function rowBars(rows) {
  return el(
    'ul',
    { class: 'bars' },
    ...rows.map(({ label, kind, probability, chosen }) =>
      el(
        'li',
        { class: chosen ? 'bar chosen' : 'bar' },
        el('span', { class: 'label' }, label),
        el('span', { class: 'track', 'aria-hidden': 'true' }, fill(probability, kind)),
        el('span', { class: 'number' }, percent(probability)),
      ),
    ),
  );
}

/**
 * Probabilities that share one bar.
 * @param {{ kind: string, probability: number, label: string }[]} parts
 */
export function stackedBar(parts) {
  const words = parts.map(({ label, probability }) => `${label} ${percent(probability)}`);
  const bar = el('span', { class: 'track stacked', role: 'img', 'aria-label': words.join(', ') });
  for (const { kind, probability } of parts) bar.append(fill(probability, kind));
  return bar;
}

/**
 * The probability of every level of a scale, as columns; the expected level is marked.
 * @param {Record<string, number>} probabilities
 * @param {number | null} score
 */
export function levelColumns(probabilities, score) {
  const levels = Object.entries(probabilities).map(([level, p]) => [Number(level), p]);
  levels.sort(([a], [b]) => a - b);
  const most = Math.max(...levels.map(([, p]) => p));
  const [low, high] = [levels[0][0], levels[levels.length - 1][0]];
  const likely = levels.filter(([, p]) => p >= 0.001).map(([level, p]) => `${level}: ${percent(p)}`);
  const columns = el('div', {
    class: levels.length > 21 ? 'levels dense' : 'levels',
    role: 'img',
    'aria-label': `Probability of each level. ${likely.join(', ')}`,
  });
  for (const [level, p] of levels) {
    const column = el('span', { class: p === most ? 'level chosen' : 'level' });
    column.title = `${level}: ${percent(p)}`;
    column.style.setProperty('--p', p);
    columns.append(column);
  }
  const named = levels.length > 21 ? [low, high] : levels.map(([level]) => level);
  const axis = el('div', { class: 'axis', 'aria-hidden': 'true' });
  axis.append(...named.map((level) => el('span', {}, level)));
  const chart = el('div', { class: 'chart' }, columns, axis);
  if (score !== null) {
    const mark = el('span', { class: 'mark', 'aria-hidden': 'true' });
    mark.style.setProperty('--at', (score - low + 0.5) / (high - low + 1));
    columns.append(mark);
  }
  return chart;
}
