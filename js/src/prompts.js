/**
 * From a task to the exact pieces that a critic reads, as edgecritic.prompts.render lays them out.
 * The dialect is a bundle's prompts.json.
 */

/** @typedef {{ kind: 'control' | 'text', text: string } | { kind: 'image' }} Piece */

/**
 * @typedef {{
 *   question: string,
 *   responses: string[],
 *   reference?: string | null,
 *   rubric?: { low: number, high: number, criteria?: string | null, levels?: Record<string, string> },
 * }} Task  One response is scored, two are compared.
 */

const PLACEHOLDER = /\{(\w+)\}/g;

/** Nothing for a text of white space alone, which critics take for more than nothing. */
function unlessBlank(text) {
  return text?.trim() ? text : '';
}

/**
 * @param {Task} task
 * @param {object} dialect a bundle's prompts.json
 * @param {{ hasImage: boolean, wording?: number }} options
 * @returns {{ pieces: Piece[], outcomes: (number | string)[], answers: string[] }}
 */
export function render(task, dialect, { hasImage, wording = 0 }) {
  const rubric = task.rubric ?? { low: 1, high: 10 };
  const values = {
    question: task.question.trim(),
    reference: unlessBlank(task.reference) || null,
    criteria: unlessBlank(rubric.criteria) || null,
  };
  const pointwise = task.responses.length === 1;
  let outcomes;
  let labels;
  if (pointwise) {
    Object.assign(values, { low: `${rubric.low}`, high: `${rubric.high}` });
    values.response = unlessBlank(task.responses[0]);
    outcomes = range(rubric.low, rubric.high);
    labels = outcomes.map(String);
  } else if (task.responses.length === 2) {
    [values.first, values.second] = task.responses.map(unlessBlank);
    outcomes = ['first', 'second', 'tie'];
    labels = outcomes.map((outcome) => dialect.labels[outcome]);
  } else {
    throw new Error(`a judgement takes one or two responses, not ${task.responses.length}`);
  }
  const setting = pointwise ? 'pointwise' : 'pairwise';
  const texts = dialect.wordings[setting];
  const lines = filled(texts[wording % texts.length], values, rubric.levels ?? {});
  const { answer, reason } = dialect.answers[setting];
  return {
    pieces: pieces(lines.join('\n'), dialect, hasImage),
    outcomes,
    answers: labels.map((label) => answer.replace('{verdict}', () => label) + reason),
  };
}

function range(low, high) {
  return Array.from({ length: high - low + 1 }, (_, k) => low + k);
}

/** The wording's lines; one whose placeholder has nothing to say is left out. */
function filled(wording, values, levels) {
  return wording.split('\n').flatMap((line) => {
    if (line.includes('{level_text}')) {
      return Object.entries(levels).map(([level, text]) =>
        fill(line, { ...values, level, level_text: text }),
      );
    }
    const names = [...line.matchAll(PLACEHOLDER)].map((match) => match[1]);
    return names.some((name) => values[name] === null) ? [] : [fill(line, values)];
  });
}

/** One pass over the template, so that braces in a user's text stay as they are. */
function fill(line, values) {
  return line.replace(PLACEHOLDER, (_, name) => values[name] ?? '');
}

function pieces(userText, dialect, hasImage) {
  const opened = (role) => dialect.turn_open.replaceAll('{role}', role);
  const control = (text) => ({ kind: 'control', text });
  const text = (content) => ({ kind: 'text', text: content });
  const start = dialect.system
    ? [control(opened('system')), text(dialect.system), control(dialect.turn_close + opened('user'))]
    : [control(opened('user'))];
  return [
    ...start,
    ...(hasImage ? [{ kind: 'image' }, text(`\n${userText}`)] : [text(userText)]),
    control(dialect.turn_close + opened('assistant')),
  ];
}
