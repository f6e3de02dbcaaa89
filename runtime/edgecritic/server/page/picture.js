/** The picture: dropped, pasted or chosen; kept as the bytes that it came as. */

import { byId } from './dom.js';

export const MAX_BYTES = 20 * 2 ** 20; // what the server takes

/** @typedef {{ blob: Blob, name: string }} Picture */

export class PicturePicker extends EventTarget {
  /** @type {Picture | null} */
  picture = null;

  constructor() {
    super();
    this.drop = byId('drop');
    this.file = byId('file');
    this.preview = byId('preview');
    this.file.addEventListener('change', () => this.#take(this.file.files));
    byId('remove-picture').addEventListener('click', () => {
      this.show(null);
      this.file.focus();
    });
    // A file that misses the field must not make the browser leave the page.
    for (const type of ['dragenter', 'dragover', 'dragleave', 'drop']) {
      document.addEventListener(type, (event) => this.#dragged(event));
    }
    document.addEventListener('paste', (event) => {
      if (event.clipboardData.files.length > 0) {
        event.preventDefault();
        this.#take(event.clipboardData.files);
      }
    });
    this.preview.addEventListener('error', () => {
      if (this.picture) this.#refuse(`${this.picture.name} is not a picture that this browser shows`);
    });
  }

  /** @param {Picture | null} picture */
  show(picture) {
    URL.revokeObjectURL(this.preview.src);
    this.picture = picture;
    for (const id of ['preview', 'another', 'remove-picture', 'picture-name']) {
      byId(id).hidden = !picture;
    }
    byId('invitation').hidden = picture !== null;
    this.drop.classList.toggle('filled', picture !== null);
    if (picture) {
      this.preview.src = URL.createObjectURL(picture.blob);
      this.preview.alt = picture.name;
      byId('picture-name').textContent = `${picture.name}, ${size(picture.blob.size)}`;
    } else {
      this.preview.removeAttribute('src');
    }
    this.dispatchEvent(new Event('change'));
  }

  #dragged(event) {
    if (!event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    this.drop.classList.toggle('over', event.type === 'dragenter' || event.type === 'dragover');
    if (event.type === 'drop') this.#take(event.dataTransfer.files);
  }

  #take(files) {
    const [file] = files;
    this.file.value = '';
    if (!file) return;
    const name = file.name || 'a pasted picture';
    if (!file.type.startsWith('image/')) this.#refuse(`${name} is no picture`);
    else if (file.size > MAX_BYTES) {
      this.#refuse(`${name} has ${size(file.size)}; the server takes ${size(MAX_BYTES)} at most`);
    } else this.show({ blob: file, name });
  }

  #refuse(reason) {
    this.show(null);
    this.dispatchEvent(new CustomEvent('refused', { detail: reason }));
  }
}

const size = (bytes) =>
  bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** A small drawing to try the page with, for whoever has no picture at hand. */
export async function examplePicture() {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 336;
  const pencil = canvas.getContext('2d');
  pencil.fillStyle = '#f4f1ea';
  pencil.fillRect(0, 0, 336, 336);
  pencil.fillStyle = '#d03030';
  pencil.beginPath();
  pencil.arc(168, 168, 96, 0, 2 * Math.PI);
  pencil.fill();
  const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
  return { blob, name: 'example.png' };
}
