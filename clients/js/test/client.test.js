import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';

import { Client, ServerError, dataUrl } from '../src/client.js';

/** @type {(request: object, response: import('node:http').ServerResponse) => void} */
let answer;
let base;
const server = createServer(async (incoming, response) => {
  const chunks = [];
  for await (const chunk of incoming) chunks.push(chunk);
  const body = chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : null;
  const { url, method, headers } = incoming;
  answer({ url, method, headers, body }, response);
});

before(async () => {
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  base = `http://127.0.0.1:${server.address().port}/`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});

const json = (response, value, status = 200, headers = {}) => {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  response.end(JSON.stringify(value));
};
const event = (name, data) => `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

test('a judgement is posted as JSON with the token', async () => {
  let asked;
  answer = (request, response) => {
    asked = request;
    json(response, { status: 'ok', score: 7.5 });
  };
  const client = new Client(base, { token: 'secret' });
  const verdict = await client.score({ image: null, question: 'q?', response: 'r' });
  assert.equal(verdict.score, 7.5);
  assert.equal(asked.url, '/v1/judge/score');
  assert.equal(asked.headers.authorization, 'Bearer secret');
  assert.equal(asked.headers['content-type'], 'application/json');
  assert.deepEqual(asked.body, { image: null, question: 'q?', response: 'r' });
});

test('models, rankings and batches are unwrapped', async () => {
  const answers = {
    '/v1/models': { object: 'list', data: [{ id: 'one' }] },
    '/v1/judge/rank': { order: [1, 0] },
    '/v1/judge/batch': { results: [{ score: 1 }, { error: { message: 'no' } }] },
  };
  answer = ({ url }, response) => json(response, answers[url]);
  const client = new Client(base);
  assert.deepEqual(await client.models(), [{ id: 'one' }]);
  assert.deepEqual((await client.rank({ responses: ['a', 'b'] })).order, [1, 0]);
  assert.deepEqual((await client.batch([{ kind: 'score' }])).length, 2);
});

test('a stream is put together again, wherever it was cut', async () => {
  const whole =
    ': still there\n\n' +
    event('progress', { stage: 'image' }) +
    event('verdict', { winner: 'first' }) +
    event('text', { text: 'dé' }).replaceAll('\n', '\r\n') +
    event('text', { text: 'jà\n\nvu' }) +
    event('result', { winner: 'first', rationale: 'déjà\n\nvu' });
  const bytes = Buffer.from(whole);
  for (const size of [1, 7, bytes.length]) {
    answer = async ({ body }, response) => {
      assert.equal(body.stream, true);
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      for (let at = 0; at < bytes.length; at += size) {
        response.write(bytes.subarray(at, at + size));
      }
      response.end();
    };
    const seen = [];
    const result = await new Client(base).compare(
      { first: 'a', second: 'b' },
      {
        onProgress: (progress) => seen.push(progress.stage),
        onVerdict: (verdict) => seen.push(verdict.winner),
        onText: (text) => seen.push(text),
      },
    );
    assert.deepEqual(seen, ['image', 'first', 'dé', 'jà\n\nvu']);
    assert.equal(result.rationale, 'déjà\n\nvu');
  }
});

test('aborting closes the connection', async () => {
  const controller = new AbortController();
  let closed;
  answer = (_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write(event('progress', { stage: 'image' }));
    closed = new Promise((done) => response.once('close', done));
  };
  const judging = new Client(base).score(
    { response: 'r' },
    { signal: controller.signal, onProgress: () => controller.abort() },
  );
  await assert.rejects(judging, { name: 'AbortError' });
  await closed;
});

test('leaving the loop over a stream closes the connection', async () => {
  let closed;
  answer = (_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.write(event('progress', { stage: 'image' }));
    closed = new Promise((done) => response.once('close', done));
  };
  for await (const { data } of new Client(base).stream('score', { response: 'r' })) {
    assert.equal(data.stage, 'image');
    break;
  }
  await closed;
});

test('errors carry status, hint and when to come back', async () => {
  const error = { message: 'the queue is full', hint: 'ask later', code: 'queue_full' };
  answer = (_, response) => json(response, { error }, 429, { 'Retry-After': '3' });
  await assert.rejects(new Client(base).score({}), (found) => {
    assert.ok(found instanceof ServerError);
    assert.deepEqual(
      [found.status, found.message, found.hint, found.code, found.retryAfter],
      [429, 'the queue is full', 'ask later', 'queue_full', 3],
    );
    return true;
  });
});

test('an error inside a stream is an error', async () => {
  answer = (_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.end(event('error', { error: { message: 'it broke', hint: 'try again' } }));
  };
  const judging = new Client(base).score({}, { onText: () => {} });
  await assert.rejects(judging, { message: 'it broke', hint: 'try again' });
});

test('streams that end early, odd answers and silence are ServerErrors', async () => {
  answer = (_, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream' });
    response.end(event('progress', { stage: 'image' }));
  };
  await assert.rejects(new Client(base).score({}, { onText: () => {} }), {
    message: 'the stream ended before the result',
  });
  answer = (_, response) => {
    response.writeHead(502);
    response.end('<html>');
  };
  await assert.rejects(new Client(base).models(), { message: 'the server answered 502' });
  answer = (_, response) => response.destroy();
  await assert.rejects(new Client(base).models(), {
    name: 'ServerError',
    status: 0,
    message: 'the server does not answer',
  });
});

test('pictures become data URLs', async () => {
  assert.equal(
    await dataUrl(new Blob([new Uint8Array([1, 2, 3])], { type: 'image/png' })),
    'data:image/png;base64,AQID',
  );
  const large = new Uint8Array(200_000).fill(7);
  const url = await dataUrl(large);
  assert.deepEqual(Buffer.from(url.split(',')[1], 'base64').length, large.length);
});
