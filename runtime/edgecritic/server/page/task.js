/** The form: what is asked, of whom, and on which scale. */

import { button, byId, el, letter } from './dom.js';
import { PicturePicker } from './picture.js';

const MOST = 8;
const NO_CRITERIA = { criteria: null };

/**
 * @typedef {object} Task what is judged, as the history keeps it
 * @property {string} question
 * @property {string[]} responses
 * @property {string | null} reference
 * @property {import('./client.js').Rubric | null} rubric
 * @property {'score' | 'compare' | 'rank'} kind
 * @property {boolean} rationale
 */

export class TaskForm extends EventTarget {
  constructor() {
    super();
    this.form = byId('task');
    this.list = byId('responses');
    this.pictures = new PicturePicker();
    this.busy = false;
    byId('add').addEventListener('click', () => this.#add('').focus());
    byId('swap').addEventListener('click', () => this.#swap());
    byId('scale').addEventListener('change', () => this.#fit());
    this.form.addEventListener('change', () => this.#fit());
    this.form.addEventListener('input', () => this.complain(''));
    this.form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.form.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) this.#submit();
    });
    this.pictures.addEventListener('refused', (event) => this.complain(event.detail));
    this.pictures.addEventListener('change', () => this.complain(''));
    this.#add('');
    this.#add('');
  }

  /** @returns {Task} */
  get task() {
    return {
      question: byId('question').value.trim(),
      responses: this.#responses.map((field) => field.value),
      reference: byId('reference').value.trim() || null,
      rubric: this.#rubric,
      kind: this.#kind,
      rationale: byId('rationale').checked,
    };
  }

  /**
   * Fill the form with an earlier task.
   * @param {Task} task
   * @param {import('./picture.js').Picture | null} picture
   */
  fill(task, picture) {
    this.pictures.show(picture);
    byId('question').value = task.question;
    this.list.replaceChildren();
    for (const response of task.responses) this.#add(response);
    byId('reference').value = task.reference ?? '';
    byId('rationale').checked = task.rationale;
    const { low, high, criteria = null } = task.rubric ?? NO_CRITERIA;
    const range = low === undefined ? '' : `${low}-${high}`;
    const known = [...byId('scale').options].some((option) => option.value === range);
    byId('scale').value = known ? range : 'other';
    if (!known) [byId('low').value, byId('high').value] = [low, high];
    byId('criteria').value = criteria ?? '';
    const alone = task.kind === 'score' && task.responses.length > 1;
    this.form.elements.mode.value = alone ? 'score' : 'together';
    byId('options').open = Boolean(task.reference || task.rubric || !task.rationale);
    this.#fit();
  }

  /** Say what keeps the task from being judged. */
  complain(text) {
    byId('complaint').textContent = text;
  }

  /** Judging or not: then nothing more can be asked for, but it can be stopped. */
  set judging(busy) {
    this.busy = busy;
    const [here, there] = busy ? [byId('judge'), byId('cancel')] : [byId('cancel'), byId('judge')];
    const focused = document.activeElement === here;
    [here.hidden, there.hidden] = [true, false];
    if (focused) there.focus(); // both stand in the same place
  }

  get #responses() {
    return [...this.list.querySelectorAll('textarea')];
  }

  get #kind() {
    const count = this.#responses.length;
    if (count === 1 || this.form.elements.mode.value === 'score') return 'score';
    return count === 2 ? 'compare' : 'rank';
  }

  get #rubric() {
    const scale = byId('scale').value;
    const criteria = byId('criteria').value.trim() || null;
    if (!scale) return criteria && { criteria };
    const [low, high] =
      scale === 'other' ? [byId('low').valueAsNumber, byId('high').valueAsNumber] : scale.split('-');
    return { low: Number(low), high: Number(high), criteria };
  }

  #submit() {
    if (this.busy) return;
    const { question, rubric } = this.task;
    if (!question) {
      this.complain('What was asked about the picture? Write the question.');
      byId('question').focus();
    } else if (rubric && 'low' in rubric && !(rubric.low >= 0 && rubric.low < rubric.high)) {
      this.complain('The scale must go up: from a whole number to a larger one.');
      byId('options').open = true;
      byId('low').focus();
    } else {
      this.complain('');
      this.dispatchEvent(new Event('judge'));
    }
  }

  #add(text) {
    const field = el('textarea', { rows: 1, placeholder: 'An answer to judge' });
    field.value = text;
    const remove = button(el('span', { 'aria-hidden': 'true' }, '×'), { class: 'small' }, () => {
      const next = item.nextElementSibling ?? item.previousElementSibling;
      item.remove();
      this.#fit();
      next.querySelector('textarea').focus();
    });
    const badge = el('span', { class: 'badge', 'aria-hidden': 'true' });
    const item = el('li', {}, badge, field, remove);
    this.list.append(item);
    this.#fit();
    return field;
  }

  #swap() {
    const [one, two] = this.#responses;
    [one.value, two.value] = [two.value, one.value];
    this.complain('');
  }

  /** What depends on how many responses there are, and on the scale. */
  #fit() {
    const items = [...this.list.children];
    items.forEach((item, index) => {
      item.querySelector('.badge').textContent = letter(index);
      item.querySelector('textarea').setAttribute('aria-label', `Response ${letter(index)}`);
      item.querySelector('button').setAttribute('aria-label', `Remove response ${letter(index)}`);
      item.querySelector('button').hidden = items.length === 1;
    });
    byId('add').hidden = items.length >= MOST;
    byId('swap').hidden = items.length !== 2;
    byId('modes').hidden = items.length === 1;
    byId('together').textContent = items.length > 2 ? 'Rank' : 'Compare';
    byId('range').hidden = byId('scale').value !== 'other';
    const names = { score: items.length > 1 ? 'Score each' : 'Score', compare: 'Compare', rank: 'Rank' };
    byId('judge').textContent = names[this.#kind];
  }
}
