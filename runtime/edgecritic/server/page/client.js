/**
 * A client of `edgecritic serve`: no dependencies; runs in browsers, Node, Deno and Electron.
 *
 * Every call takes an AbortSignal. Aborting closes the connection, and the server stops judging.
 */

/** @typedef {'ok' | 'unparsed' | 'cancelled'} Status */
/** @typedef {'first' | 'second' | 'tie'} Winner */

/**
 * @typedef {object} Usage
 * @property {number} prompt_tokens length of all prompts, as if none shared a beginning
 * @property {number} image_tokens how many of them came from pictures
 * @property {number} decoded_tokens really decoded
 * @property {number} rationale_tokens generated
 * @property {number} reused_tokens not decoded, since that was done before
 */

/**
 * @typedef {object} Timings in seconds
 * @property {number} image
 * @property {number} verdict
 * @property {number} rationale
 */

/**
 * @typedef {object} Verdict of one response
 * @property {Status} status
 * @property {number | null} score the expected level
 * @property {number | null} level the most probable one
 * @property {Record<string, number>} probabilities of each level; they sum to 1
 * @property {number | null} confidence
 * @property {number} mass probability that the model put on the levels
 * @property {string | null} rationale
 * @property {Usage} usage
 * @property {Timings} timings
 * @property {string} critic
 * @property {string} template
 * @property {string} basis what the probabilities rest on
 * @property {'full' | 'reduced'} detail in which pictures were seen
 */

/**
 * @typedef {object} OrderVerdict a preference in one order of presentation
 * @property {'first' | 'second'} shown_first
 * @property {Winner} winner
 * @property {Record<Winner, number>} probabilities
 * @property {number} mass
 */

/**
 * @typedef {object} Preference
 * @property {Status} status
 * @property {Winner | null} winner
 * @property {Record<Winner, number>} probabilities
 * @property {number | null} confidence
 * @property {boolean | null} consistent both orders agree
 * @property {OrderVerdict[]} orders
 * @property {string | null} rationale
 * @property {Usage} usage
 * @property {Timings} timings
 * @property {string} critic
 * @property {string} template
 * @property {string} basis what the probabilities rest on
 * @property {'full' | 'reduced'} detail in which pictures were seen
 */

/**
 * @typedef {object} Ranking
 * @property {Status} status
 * @property {number[]} order indices, best first
 * @property {(number | null)[]} rewards one for each response
 * @property {[number, number, Preference][]} preferences
 * @property {Verdict[]} verdicts
 * @property {Usage} usage
 * @property {Timings} timings
 */

/**
 * @typedef {object} Rubric
 * @property {number} [low]
 * @property {number} [high]
 * @property {string | null} [criteria]
 * @property {Record<string, string>} [levels]
 */

/**
 * @typedef {object} Asked what all judgements take
 * @property {string | string[] | null} image data URLs or bare base64; see `dataUrl`
 * @property {string} question
 * @property {string | null} [reference] a right answer
 * @property {Rubric | string | null} [rubric] such as "1-5"
 * @property {number} [wording]
 * @property {string} [model] an id of `models`
 */

/**
 * @typedef {object} Reasoned
 * @property {boolean} [rationale] also say why; true when left out
 * @property {number} [max_rationale_tokens]
 * @property {number} [temperature]
 * @property {number} [seed]
 */

/** @typedef {Asked & Reasoned & { response: string }} ScoreRequest */
/**
 * @typedef {Asked & Reasoned & { first: string, second: string,
 *   orders?: 'both' | 'given' | 'swapped' }} CompareRequest
 */
/** @typedef {Asked & { responses: string[], method?: 'pairwise' | 'adaptive' | 'pointwise' }} RankRequest */
/** @typedef {{ kind: 'score' | 'compare' | 'rank' } & Record<string, unknown>} BatchItem */

/**
 * @typedef {object} Model
 * @property {string} id
 * @property {{ name: string, quant: string, rubric: { low: number, high: number },
 *   good_for: string[], bad_for: string[], loaded: boolean }} edgecritic
 */

/** @typedef {{ stage: 'loading' | 'image' | 'prefill' | 'token', done?: number, total?: number }} Progress */

/**
 * What a streamed judgement tells while it is made.
 * @typedef {object} Listeners
 * @property {(progress: Progress) => void} [onProgress]
 * @property {(verdict: any) => void} [onVerdict] the result without its reason
 * @property {(text: string) => void} [onText] a piece of the reason
 */

/** An answer that is an error, or no answer at all (`status` 0). */
export class ServerError extends Error {
  /**
   * @param {string} message
   * @param {{ status?: number, hint?: string, code?: string | null, retryAfter?: number | null,
   *   cause?: unknown }} [about]
   */
  constructor(message, { status = 0, hint = '', code = null, retryAfter = null, cause } = {}) {
    super(message, { cause });
    this.name = 'ServerError';
    this.status = status;
    this.hint = hint;
    this.code = code;
    /** Seconds to wait before another try; null where the server does not say. */
    this.retryAfter = retryAfter;
  }
}

export class Client {
  /**
   * @param {string | URL} base such as http://127.0.0.1:8642
   * @param {{ token?: string | null, fetch?: typeof fetch }} [options]
   */
  constructor(base, { token = null, fetch: ask = globalThis.fetch } = {}) {
    this.base = String(base).replace(/\/+$/, '');
    this.token = token;
    this.ask = ask.bind(globalThis);
  }

  /**
   * Score one response.
   * @param {ScoreRequest} request
   * @param {{ signal?: AbortSignal } & Listeners} [options] a listener makes it stream
   * @returns {Promise<Verdict>}
   */
  score(request, options = {}) {
    return this.#judge('score', request, options);
  }

  /**
   * Say which of two responses is better.
   * @param {CompareRequest} request
   * @param {{ signal?: AbortSignal } & Listeners} [options] a listener makes it stream
   * @returns {Promise<Preference>}
   */
  compare(request, options = {}) {
    return this.#judge('compare', request, options);
  }

  /**
   * Order two to eight responses.
   * @param {RankRequest} request
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Ranking>}
   */
  rank(request, { signal } = {}) {
    return this.#json('/v1/judge/rank', { signal, body: request });
  }

  /**
   * Up to 64 judgements in one request, answered in its order.
   * @param {BatchItem[]} requests
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<(Verdict | Preference | Ranking | { error: object })[]>}
   */
  async batch(requests, { signal } = {}) {
    return (await this.#json('/v1/judge/batch', { signal, body: { requests } })).results;
  }

  /**
   * The critics that the server has.
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Model[]>}
   */
  async models({ signal } = {}) {
    return (await this.#json('/v1/models', { signal })).data;
  }

  /**
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<{ status: string, version: string,
   *   models: { id: string, state: string }[], queue: { waiting: number, limit: number } }>}
   */
  health({ signal } = {}) {
    return this.#json('/health', { signal });
  }

  /**
   * A streamed judgement as events: progress, verdict, text, result.
   * @param {'score' | 'compare'} kind
   * @param {object} request
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {AsyncGenerator<{ event: string, data: any }>}
   */
  async *stream(kind, request, { signal } = {}) {
    const body = { ...request, stream: true };
    const answer = await this.#send(`/v1/judge/${kind}`, { signal, body });
    try {
      if (!answer.body) return;
      for await (const { event, data } of events(answer.body)) {
        if (event === 'error') throw told(data, answer.status);
        yield { event, data };
      }
    } catch (error) {
      throw explained(error, signal);
    }
  }

  /**
   * @param {'score' | 'compare'} kind
   * @param {object} request
   * @param {{ signal?: AbortSignal } & Listeners} options
   */
  async #judge(kind, request, { signal, onProgress, onVerdict, onText }) {
    if (!onProgress && !onVerdict && !onText) {
      return this.#json(`/v1/judge/${kind}`, { signal, body: request });
    }
    /** @type {Record<string, ((data: any) => void) | undefined>} */
    const listeners = { progress: onProgress, verdict: onVerdict, text: (d) => onText?.(d.text) };
    for await (const { event, data } of this.stream(kind, request, { signal })) {
      if (event === 'result') return data;
      listeners[event]?.(data);
    }
    throw new ServerError('the stream ended before the result', {
      hint: 'the server was stopped; ask again',
    });
  }

  /**
   * @param {string} path
   * @param {{ signal?: AbortSignal, body?: object }} options
   */
  async #json(path, options) {
    const answer = await this.#send(path, options);
    try {
      return await answer.json();
    } catch (error) {
      throw explained(error, options.signal);
    }
  }

  /**
   * @param {string} path
   * @param {{ signal?: AbortSignal, body?: object }} options
   */
  async #send(path, { signal, body }) {
    /** @type {Record<string, string>} */
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (body) headers['Content-Type'] = 'application/json';
    let answer;
    try {
      answer = await this.ask(this.base + path, {
        method: body ? 'POST' : 'GET',
        headers,
        body: body && JSON.stringify(body),
        signal,
      });
    } catch (error) {
      throw explained(error, signal);
    }
    if (answer.ok) return answer;
    const content = await answer.json().catch(() => null);
    throw told(content, answer.status, answer.headers.get('Retry-After'));
  }
}

/**
 * Bytes of a picture as the API takes them.
 * @param {Blob | Uint8Array<ArrayBuffer> | ArrayBuffer} picture
 * @returns {Promise<string>}
 */
export async function dataUrl(picture) {
  const blob = picture instanceof Blob ? picture : new Blob([picture]);
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const pieces = [];
  const step = 0x8000; // so many arguments every engine takes
  for (let at = 0; at < bytes.length; at += step) {
    pieces.push(String.fromCharCode(...bytes.subarray(at, at + step)));
  }
  return `data:${blob.type || 'application/octet-stream'};base64,${btoa(pieces.join(''))}`;
}

/**
 * Server-sent events of a body, as they come.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {AsyncGenerator<{ event: string, data: any }>}
 */
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (waiting + value).split(/\r?\n\r?\n/);
      waiting = blocks.pop() ?? '';
      for (const block of blocks) {
        const parsed = parseEvent(block);
        if (parsed) yield parsed;
      }
    }
  } finally {
    await reader.cancel().catch(() => {}); // closes the connection: nobody listens any more
  }
}

/** @param {string} block */
function parseEvent(block) {
  let event = 'message';
  /** @type {string[]} */
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const field = line.slice(0, colon);
    const value = line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') event = value;
    if (field === 'data') data.push(value);
  }
  return data.length ? { event, data: JSON.parse(data.join('\n')) } : null;
}

/**
 * An error that the server told of.
 * @param {any} content
 * @param {number} status
 * @param {string | null} [retryAfter]
 */
function told(content, status, retryAfter = null) {
  const { message, hint, code } = content?.error ?? {};
  const seconds = Number.parseFloat(retryAfter ?? '');
  return new ServerError(message || `the server answered ${status}`, {
    status,
    hint,
    code,
    retryAfter: Number.isFinite(seconds) ? seconds : null,
  });
}

/**
 * An abort stays an abort; everything else that keeps an answer away is a ServerError.
 * @param {unknown} error
 * @param {AbortSignal} [signal]
 */
function explained(error, signal) {
  if (error instanceof ServerError) return error;
  if (signal?.aborted) return signal.reason;
  return new ServerError('the server does not answer', {
    hint: 'start it with: edgecritic serve',
    cause: error,
  });
}
