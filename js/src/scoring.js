/** From next-token logits to verdicts, as edgecritic.scoring and edgecritic.debias do in Python. */

const MIN_MASS = 0.5;

/**
 * The verdicts that may be stated, laid out as paths of tokens.
 *
 * `forced` is what all of them start with, `paths` what tells each from the others behind it, and
 * `nodes` the branching points behind `forced` after which the model's logits are needed.
 */
export class OutcomeTrie {
  /** @param {number[][]} answers token ids of each outcome, with the text that follows it */
  constructor(answers) {
    const nForced = commonLength(answers);
    const beginnings = new Map();
    for (const answer of answers) {
      for (let end = nForced; end <= answer.length; end++) {
        const key = answer.slice(0, end).join();
        beginnings.set(key, (beginnings.get(key) ?? 0) + 1);
      }
    }
    this.forced = answers[0].slice(0, nForced);
    this.paths = answers.map((answer) => shortestUnique(answer, beginnings, nForced));
    const nodes = new Map();
    for (const path of this.paths) {
      for (let k = 0; k < path.length; k++) nodes.set(path.slice(0, k).join(), path.slice(0, k));
    }
    this.nodes = [...nodes.values()].sort((a, b) => a.length - b.length || compared(a, b));
  }

  /**
   * @param {Float32Array[]} logits for each of `nodes` the row after it
   * @returns {number[]} joint log-probability of each outcome
   */
  logProbs(logits) {
    const rows = new Map(this.nodes.map((node, k) => [node.join(), logits[k]]));
    const sums = new Map([...rows].map(([key, row]) => [key, logSumExp(row)]));
    return this.paths.map((path) => {
      let total = 0;
      for (let k = 0; k < path.length; k++) {
        const key = path.slice(0, k).join();
        total += rows.get(key)[path[k]] - sums.get(key);
      }
      return total;
    });
  }
}

function commonLength(answers) {
  for (let k = 0; k < Math.min(...answers.map((answer) => answer.length)); k++) {
    if (answers.some((answer) => answer[k] !== answers[0][k])) return k;
  }
  throw new Error('two verdicts are stated by the same tokens, or one begins another');
}

function shortestUnique(answer, beginnings, start) {
  for (let end = start + 1; end <= answer.length; end++) {
    if (beginnings.get(answer.slice(0, end).join()) === 1) return answer.slice(start, end);
  }
  throw new Error("one verdict's tokens are the beginning of another's");
}

function compared(a, b) {
  const k = a.findIndex((token, index) => token !== b[index]);
  return k < 0 ? 0 : a[k] - b[k];
}

function logSumExp(row) {
  let top = -Infinity;
  for (const value of row) top = Math.max(top, value);
  let sum = 0;
  for (const value of row) sum += Math.exp(value - top);
  return top + Math.log(sum);
}

/**
 * Joint log-probabilities scaled by a calibration temperature and normalised over the outcomes.
 * @returns {{ logProbs: number[], mass: number, readable: boolean }}
 */
export function normalise(joint, temperature = 1) {
  const mass = Math.min(1, joint.reduce((sum, value) => sum + Math.exp(value), 0));
  const scaled = joint.map((value) => value / temperature);
  if (joint.some(Number.isNaN) || !Number.isFinite(Math.max(...scaled))) {
    return { logProbs: joint.map(() => -Math.log(joint.length)), mass: 0, readable: false };
  }
  const total = logSumExp(scaled);
  return { logProbs: scaled.map((value) => value - total), mass, readable: mass >= MIN_MASS };
}

/** The pointwise verdict of the levels' joint log-probabilities. */
export function pointwiseVerdict(joint, levels, calibration) {
  const found = normalise(joint, calibration.pointwise_temperature);
  if (!found.readable) return unparsed(found.mass);
  const probabilities = found.logProbs.map(Math.exp);
  const best = found.logProbs.indexOf(Math.max(...found.logProbs));
  const score = probabilities.reduce((sum, p, k) => sum + p * levels[k], 0);
  return {
    status: 'ok',
    score: Math.min(Math.max(score, levels[0]), levels[levels.length - 1]),
    level: levels[best],
    probabilities: Object.fromEntries(levels.map((level, k) => [level, probabilities[k]])),
    confidence: probabilities[best],
    mass: found.mass,
  };
}

function unparsed(mass) {
  return { status: 'unparsed', score: null, level: null, probabilities: {}, confidence: null, mass };
}

/**
 * The preference that one or both orders make.
 * @param {{ first?: number[], second?: number[] }} joints by which of the responses was shown first
 *   the joint log-probabilities of first, second and tie, in the labels of the prompt
 */
export function preference(joints, calibration) {
  const told = [];
  const orders = [];
  for (const [shown, joint] of Object.entries(joints)) {
    const found = normalise(joint, calibration.pairwise_temperature);
    if (!found.readable) continue;
    const [first, second, tie] = found.logProbs;
    const logProbs = shown === 'second' ? [second, first, tie] : found.logProbs;
    told.push(logProbs);
    orders.push({
      shown_first: shown,
      winner: winner(logProbs, 0),
      probabilities: byOutcome(logProbs),
      mass: found.mass,
    });
  }
  const allRead = told.length === Object.keys(joints).length;
  const reconciled = allRead ? reconcile(told) : null;
  if (reconciled === null) {
    // Where all could be read, one order rules out what the other one insists on.
    const consistent = allRead ? false : null;
    const nothing = { winner: null, probabilities: {}, confidence: null };
    return { status: 'unparsed', ...nothing, consistent, orders };
  }
  const best = winner(reconciled, calibration.tie_margin);
  const probabilities = byOutcome(reconciled);
  const winners = new Set(orders.map((order) => order.winner));
  return {
    status: 'ok',
    winner: best,
    probabilities,
    confidence: probabilities[best],
    consistent: orders.length > 1 ? winners.size === 1 : null,
    orders,
  };
}

/** The normalised geometric mean; null where the orders rule out each other's outcomes. */
function reconcile(orders) {
  const mean = [0, 1, 2].map((k) => orders.reduce((sum, one) => sum + one[k], 0) / orders.length);
  if (!Number.isFinite(Math.max(...mean))) return null;
  const total = logSumExp(mean);
  return mean.map((value) => value - total);
}

function winner([first, second, tie], tieMargin) {
  if (tie >= Math.max(first, second) || first === second) return 'tie';
  if (Math.abs(first - second) < tieMargin) return 'tie';
  return first > second ? 'first' : 'second';
}

function byOutcome([first, second, tie]) {
  return { first: Math.exp(first), second: Math.exp(second), tie: Math.exp(tie) };
}
