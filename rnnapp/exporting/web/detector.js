/**
 * From probabilities a step to events: the twin of `rnnapp.device.Detector`, to the bit.
 *
 * Posterior handling after Chen, Parada and Heigold, "Small-footprint keyword spotting using deep
 * neural networks", ICASSP 2014.
 */

/** @typedef {{label: string, time_s: number, probability: number}} Event */
/**
 * @typedef {object} Options as `rnnapp.json` names them
 * @property {number | Record<string, number>} [threshold] one for all labels, or one for each
 * @property {number} [smoothing_ms] length of the moving average
 * @property {number} [refractory_ms] least time between two events
 * @property {string[]} [background_labels] labels that never fire
 */

// Sums are of integers, exact in any order; scaling a float32 by a power of two is exact as well.
const FIXED_POINT = 2 ** 30;

export class Detector {
  #window;
  #refractory;
  /** @type {Float64Array[]} the last rows, as integers; the place of the next row goes round */
  #past = [];
  #sums = new Float64Array();
  /** @type {boolean[]} */
  #above = [];
  #ready = 0; // first step that may fire
  /** Steps so far. */
  steps = 0;
  /** The last row, smoothed. */
  smoothed = new Float64Array();

  /**
   * @param {string[]} labels
   * @param {number} stepMs time from one row of probabilities to the next
   * @param {Options} [options]
   */
  constructor(labels, stepMs, options = {}) {
    const { smoothing_ms = 200, refractory_ms = 750 } = options;
    if (!(smoothing_ms >= 0 && refractory_ms >= 0 && stepMs > 0)) {
      throw new Error("smoothing_ms and refractory_ms must not be negative, a step not be empty.");
    }
    this.labels = labels;
    this.stepMs = stepMs;
    this.thresholds = thresholdsFor(labels, options);
    this.#window = Math.max(1, roundHalfEven(smoothing_ms / stepMs));
    this.#refractory = Math.max(1, Math.ceil(refractory_ms / stepMs - 1e-9)); // 0.3 / 0.1 > 3
    this.reset();
  }

  /** Forget the stream: time starts at 0, as though silence had been before. */
  reset() {
    const row = () => new Float64Array(this.labels.length);
    this.#past = Array.from({ length: this.#window }, row);
    this.#sums = row();
    this.#above = this.labels.map(() => false);
    this.#ready = 0;
    this.steps = 0;
    this.smoothed = row();
  }

  /**
   * Take the next step of the stream.
   * @param {ArrayLike<number>} probabilities float32, one for each label
   * @returns {Event | null} the event that fires at this step
   */
  update(probabilities) {
    this.#smooth(probabilities);
    const { smoothed, thresholds } = this;
    let best = -1;
    for (let i = 0; i < thresholds.length; i++) {
      const above = smoothed[i] >= thresholds[i];
      const rising = above && !this.#above[i];
      if (rising && (best < 0 || smoothed[i] > smoothed[best])) best = i;
      this.#above[i] = above;
    }
    const step = this.steps++;
    if (best < 0 || step < this.#ready) return null;
    this.#ready = step + this.#refractory;
    const time_s = ((step + 1) * this.stepMs) / 1000;
    return { label: this.labels[best], time_s, probability: smoothed[best] };
  }

  /** @param {ArrayLike<number>} probabilities */
  #smooth(probabilities) {
    if (probabilities.length !== this.labels.length) {
      throw new Error(`Probabilities must be ${this.labels.length}, one for each label.`);
    }
    const oldest = this.#past[this.steps % this.#window];
    for (let i = 0; i < oldest.length; i++) {
      // A softmax may pass 1 by rounding; NaN fails both comparisons.
      if (!(probabilities[i] >= -0.001 && probabilities[i] <= 1.001)) {
        throw new Error(`Probabilities must lie between 0 and 1. Received: ${probabilities[i]}`);
      }
      const newest = roundHalfEven(probabilities[i] * FIXED_POINT);
      this.#sums[i] += newest - oldest[i];
      oldest[i] = newest;
      this.smoothed[i] = this.#sums[i] / (this.#window * FIXED_POINT);
    }
  }
}

/**
 * @param {string[]} labels
 * @param {Options} options
 * @returns {number[]} infinite for the background
 */
function thresholdsFor(labels, options) {
  const { threshold = 0.7, background_labels = ["_silence_", "_unknown_"] } = options;
  return labels.map((label) => {
    if (background_labels.includes(label)) return Infinity;
    const value = typeof threshold === "number" ? threshold : threshold[label];
    if (!(value > 0 && value <= 1)) {
      throw new Error(`The threshold of ${label} must lie above 0 and at most at 1: ${value}`);
    }
    return value;
  });
}

/** As NumPy and Python round. @param {number} value */
function roundHalfEven(value) {
  const up = Math.round(value);
  return up - value === 0.5 && up % 2 ? up - 1 : up;
}
