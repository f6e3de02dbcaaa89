/**
 * A critic in Node: an ONNX bundle's graphs run by transformers.js, between our own tiling and
 * packing in front and our own verdicts behind.
 */

import path from 'node:path';

import { readBundle } from './bundle.js';
import { packFeatures } from './packing.js';
import { loadPicture } from './pictures.js';
import { render } from './prompts.js';
import { OutcomeTrie, pointwiseVerdict, preference } from './scoring.js';
import { pixelValues, tile } from './tiling.js';

/** @typedef {import('./resample.js').Picture} Picture */
/** @typedef {import('./prompts.js').Task} Task */

/** One stretch of what the decoder reads: embeddings, and what tells them from others. */
class Span {
  /**
   * @param {Float32Array} embeddings (length, d)
   * @param {(number | string)[]} keys one for each position; equal keys mean equal embeddings
   */
  constructor(embeddings, keys) {
    this.embeddings = embeddings;
    this.keys = keys;
  }
}

export class Critic {
  /**
   * Load a bundle.
   *
   * Nothing is fetched. Files are checked against critic.json's sizes, not its hashes: `edgecritic
   * models verify` does that where the bundle is installed.
   *
   * @param {string} folder with critic.json
   * @param {object} [options] of transformers.js, such as `session_options`
   * @throws {import('./bundle.js').BundleError} it cannot be judged with; `hint` says what mends it
   */
  static async load(folder, options = {}) {
    const { root, tokenizer, tokenizerConfig, ...bundle } = await readBundle(folder);
    const transformers = await import('@huggingface/transformers');
    const { AutoTokenizer, LlavaOnevisionForConditionalGeneration: Model } = transformers;
    const local = { local_files_only: true };
    transformers.env.localModelPath = path.dirname(root);
    const name = path.basename(root);
    const [withControl, model] = await Promise.all([
      AutoTokenizer.from_pretrained(name, local),
      Model.from_pretrained(name, { ...local, ...options }),
    ]);
    // In a user's text "<|im_end|>" is what its characters spell.
    const added = tokenizer.added_tokens.filter((token) => !token.special);
    const plain = new transformers.PreTrainedTokenizer(
      { ...tokenizer, added_tokens: added },
      tokenizerConfig,
    );
    return new Critic({ ...bundle, model, withControl, plain, transformers });
  }

  constructor(parts) {
    Object.assign(this, parts);
    this.geometry = parts.manifest.image;
    this.calibration = parts.manifest.calibration;
  }

  /**
   * Score one response.
   * @param {string | Uint8Array | Picture | null} image
   * @param {Task} task with one response
   * @param {{ wording?: number }} [options]
   */
  async score(image, task, { wording = 0 } = {}) {
    const rubric = task.rubric ?? this.manifest.rubric;
    const [{ joint, outcomes }] = await this.logProbs(image, [{ ...task, rubric }], wording);
    return pointwiseVerdict(joint, outcomes, this.calibration);
  }

  /**
   * Compare two responses, shown in both orders unless one is enough.
   * @param {string | Uint8Array | Picture | null} image
   * @param {Task} task with two responses
   * @param {{ bothOrders?: boolean, wording?: number }} [options]
   */
  async compare(image, task, { bothOrders = true, wording = 0 } = {}) {
    const [one, two] = task.responses;
    const tasks = [{ ...task, responses: [one, two] }];
    if (bothOrders) tasks.push({ ...task, responses: [two, one] });
    const [first, second] = await this.logProbs(image, tasks, wording);
    const joints = { first: first.joint, ...(second && { second: second.joint }) };
    return preference(joints, this.calibration);
  }

  /** Free the sessions. */
  async dispose() {
    await this.model.dispose();
  }

  /**
   * The image tokens of a picture.
   * @param {string | Uint8Array | Picture} image
   * @returns {Promise<{ data: Float32Array, length: number }>} (length, d)
   */
  async features(image) {
    const encoded = typeof image === 'string' || image instanceof Uint8Array;
    const tiled = tile(encoded ? await loadPicture(image) : image, this.geometry);
    const features = [];
    const side = this.geometry.tile_size;
    for (const pixels of tiled.tiles) {
      const values = pixelValues(pixels, this.geometry);
      const pixel_values = new this.transformers.Tensor('float32', values, [1, 3, side, side]);
      features.push((await this.model.encode_image({ pixel_values })).data);
    }
    return packFeatures(features, tiled, this.geometry, this.newline);
  }

  /**
   * What verdicts are made of; tasks about one picture share what they begin with.
   * @param {string | Uint8Array | Picture | null} image
   * @param {Task[]} tasks
   * @returns {Promise<{ joint: number[], outcomes: (number | string)[] }[]>} for each task the
   *   joint log-probability of each outcome, not normalised
   */
  async logProbs(image, tasks, wording = 0) {
    const picture = image === null ? null : pictureSpan(await this.features(image));
    const rows = [];
    const laid = [];
    for (const task of tasks) {
      const prompt = render(task, this.dialect, { hasImage: picture !== null, wording });
      const trie = new OutcomeTrie(prompt.answers.map((answer) => this.#tokens(answer, false)));
      const spans = [];
      for (const piece of prompt.pieces) {
        if (piece.kind === 'image') spans.push(picture);
        else spans.push(await this.#embed(this.#tokens(piece.text, piece.kind === 'control')));
      }
      for (const node of trie.nodes) {
        rows.push(joined([...spans, await this.#embed([...trie.forced, ...node])]));
      }
      laid.push({ trie, outcomes: prompt.outcomes });
    }
    const logits = await this.#decode(rows);
    return laid.map(({ trie, outcomes }) => ({
      joint: trie.logProbs(logits.splice(0, trie.nodes.length)),
      outcomes,
    }));
  }

  #tokens(text, control) {
    const tokenizer = control ? this.withControl : this.plain;
    return text ? tokenizer.encode(text, { add_special_tokens: false }) : [];
  }

  async #embed(tokens) {
    if (tokens.length === 0) return new Span(new Float32Array(0), []);
    const ids = BigInt64Array.from(tokens, BigInt);
    const input_ids = new this.transformers.Tensor('int64', ids, [1, tokens.length]);
    return new Span((await this.model.encode_text({ input_ids })).data, tokens);
  }

  /** Logits behind each row's last position; what all rows begin with is decoded once. */
  async #decode(rows) {
    const shared = sharedLength(rows.map((row) => row.keys));
    const prefix = shared > 0 ? await this.#run(rows[0], 0, shared, null) : { cache: null };
    const found = [];
    for (const row of rows) {
      const { logits } = await this.#run(row, shared, row.keys.length, prefix.cache);
      found.push(logits);
    }
    return found;
  }

  /** Decode some positions of a row behind a cache, which stays as it is. */
  async #run(row, start, end, cache) {
    const { Tensor } = this.transformers;
    const d = this.newline.length;
    const embeddings = row.embeddings.subarray(start * d, end * d);
    const outputs = await this.model.forward({
      inputs_embeds: new Tensor('float32', embeddings, [1, end - start, d]),
      attention_mask: new Tensor('int64', new BigInt64Array(end).fill(1n), [1, end]),
      num_logits_to_keep: new Tensor('int64', [1n], []),
      past_key_values: cache,
    });
    const present = Object.entries(outputs).filter(([name]) => name.startsWith('present.'));
    return {
      logits: outputs.logits.data,
      cache: Object.fromEntries(
        present.map(([name, tensor]) => [name.replace('present', 'past_key_values'), tensor]),
      ),
    };
  }
}

function pictureSpan({ data, length }) {
  const keys = Array.from({ length }, (_, k) => `image ${k}`);
  return new Span(data, keys);
}

/** How many positions all rows begin with alike; each keeps at least its last one to itself. */
function sharedLength(rows) {
  const most = Math.min(...rows.map((row) => row.length)) - 1;
  for (let k = 0; k < most; k++) {
    if (rows.some((row) => row[k] !== rows[0][k])) return k;
  }
  return most;
}

function joined(spans) {
  const total = spans.reduce((sum, span) => sum + span.embeddings.length, 0);
  const embeddings = new Float32Array(total);
  let at = 0;
  for (const span of spans) {
    embeddings.set(span.embeddings, at);
    at += span.embeddings.length;
  }
  return new Span(embeddings, spans.flatMap((span) => span.keys));
}
