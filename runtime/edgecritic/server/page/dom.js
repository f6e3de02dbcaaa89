/** Elements without markup: text is always text, whoever wrote it. */

/** @param {string} id */
export const byId = (id) => document.getElementById(id);

/**
 * @param {string} tag
 * @param {Record<string, unknown>} [attributes] `class`, `data-...`, `aria-...`; false leaves one out
 * @param {...(Node | string | number | null | undefined | false)} children
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value === true ? '' : String(value));
    }
  }
  for (const child of children) {
    if (child || child === 0) node.append(child instanceof Node ? child : String(child));
  }
  return node;
}

/** A button that does something. */
export function button(label, attributes, act) {
  const node = el('button', { type: 'button', ...attributes }, label);
  node.addEventListener('click', act);
  return node;
}

/** Text for screen readers alone. */
export const unseen = (text) => el('span', { class: 'unseen' }, text);

/** Hand a file to the user. */
export function download(name, value) {
  const blob = new Blob([JSON.stringify(value, null, 2)], { type: 'application/json' });
  const link = el('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export const letter = (index) => String.fromCharCode(65 + index);
export const percent = (p) => (p > 0 && p < 0.001 ? '< 0.1%' : `${(100 * p).toFixed(1)}%`);
export const seconds = (s) => (s < 9.95 ? `${s.toFixed(1)} s` : `${Math.round(s)} s`);
