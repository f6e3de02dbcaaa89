/** Which critics judge: every bundle that the server has, with what it is good for. */

import { byId, el, unseen } from './dom.js';

/** @typedef {import('./client.js').Model} Model */

const STATES = {
  unloaded: 'loads when asked',
  loading: 'loading',
  ready: 'ready',
  failed: 'failed to load',
};

/** The quant type, unless the name says it already. */
export const quantBeside = (name, quant) =>
  quant && !name.toLowerCase().includes(quant.toLowerCase()) ? quant : '';

export class CriticList {
  /** @type {Model[]} */
  models = [];

  /** @param {Model[]} models */
  show(models) {
    const asked = new Set(this.chosen.map((model) => model.id));
    this.models = models;
    byId('critics-field').hidden = models.length === 0;
    byId('critics-title').textContent = models.length === 1 ? 'Critic' : 'Critics';
    byId('critics').replaceChildren(...models.map((model, index) => this.#item(model, index, asked)));
  }

  /** @returns {Model[]} those that shall judge */
  get chosen() {
    return this.models.filter((model) => this.#box(model.id)?.checked);
  }

  /** @param {{ id: string, state: string }[]} states */
  states(states) {
    for (const { id, state } of states) {
      const mark = this.#box(id)?.closest('.critic').querySelector('.state');
      if (!mark || mark.dataset.state === state) continue;
      mark.dataset.state = state;
      mark.title = mark.textContent = STATES[state] ?? state;
    }
  }

  #box(id) {
    return [...byId('critics').querySelectorAll('input')].find((box) => box.value === id);
  }

  #item(model, index, asked) {
    const { quant, rubric, good_for: good, bad_for: bad } = model.edgecritic;
    const box = el('input', { type: 'checkbox', value: model.id });
    box.checked = asked.has(model.id) || (asked.size === 0 && index === 0);
    box.hidden = this.models.length === 1; // nothing to choose
    const name = el('label', {}, box, el('span', { class: 'name' }, model.id));
    const state = el('span', { class: 'state', 'data-state': 'unknown' });
    const scale = `${rubric.low} to ${rubric.high}`;
    const facts = el('span', { class: 'quiet' }, [quantBeside(model.id, quant), scale].filter(Boolean).join(', '));
    const line = el('div', { class: 'line' }, name, facts, state);
    const about = el(
      'details',
      {},
      el('summary', {}, 'What it can judge', unseen(`: ${model.id}`)),
      good.length > 0 && el('p', {}, el('b', {}, 'Good for '), good.join(', ')),
      bad.length > 0 && el('p', {}, el('b', {}, 'Not for '), bad.join(', ')),
    );
    return el('div', { class: 'critic' }, line, good.length + bad.length > 0 && about);
  }
}
