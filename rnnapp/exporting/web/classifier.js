/** Answer a clip at a time by `predict`, for models without a step: `rnnapp.device.Classifier`. */

/** @typedef {import("./detector.js").Event} Event */

export class Classifier {
  #model;
  #description;
  #input;
  #window;
  /** @type {Float32Array[]} */
  #heard = [];
  /** Windows that were answered. */
  steps = 0;
  /** The probability of each label. */
  scores = new Float32Array();

  /**
   * @param {import("./model.js").Model} model with the signature `predict`
   * @param {import("./listener.js").Description} description
   */
  constructor(model, description) {
    this.#model = model;
    this.#description = description;
    const [{ name, shape }] = model.inputs("predict");
    this.#input = name;
    this.#window = shape[1];
    this.stepMs = (1000 * this.#window) / description.sample_rate;
    this.thresholds = description.labels.map(() => Infinity);
    this.reset();
  }

  /** Whether a whole window was heard. */
  get full() {
    return this.#count >= this.#window;
  }

  get #count() {
    return this.#heard.reduce((count, samples) => count + samples.length, 0);
  }

  reset() {
    this.#heard = [];
    this.steps = 0;
    this.scores = new Float32Array(this.#description.labels.length);
  }

  /**
   * Hear the next samples, which wait for the end of the clip.
   * @param {Float32Array} samples one channel at the model's rate
   * @returns {Promise<Event[]>}
   */
  async feed(samples) {
    this.#heard.push(samples);
    return [];
  }

  /** Answer what was heard. @returns {Promise<Event[]>} */
  async finish() {
    if (!this.#count) return [];
    const clip = fit(concatenated(this.#heard), this.#window);
    const { probabilities } = await this.#model.run("predict", { [this.#input]: clip });
    this.scores = Float32Array.from(probabilities);
    this.steps = 1;
    const probability = Math.max(...this.scores);
    const label = this.#description.labels[this.scores.indexOf(probability)];
    return [{ label, time_s: this.#count / this.#description.sample_rate, probability }];
  }
}

/**
 * Pad with zeros on the right, or keep the stretch with the most energy: as clips are made for
 * training.
 * @param {Float32Array} samples
 * @param {number} length
 */
export function fit(samples, length) {
  const energy = new Float64Array(samples.length + 1); // of all samples before each place
  samples.forEach((sample, place) => (energy[place + 1] = energy[place] + sample * sample));
  let best = 0;
  const within = (/** @type {number} */ start) => energy[start + length] - energy[start];
  for (let start = 1; start + length <= samples.length; start++) {
    if (within(start) > within(best)) best = start;
  }
  const clip = new Float32Array(length);
  clip.set(samples.subarray(best, best + length));
  return clip;
}

/** @param {Float32Array[]} blocks */
function concatenated(blocks) {
  const samples = new Float32Array(blocks.reduce((count, block) => count + block.length, 0));
  let place = 0;
  for (const block of blocks) {
    samples.set(block, place);
    place += block.length;
  }
  return samples;
}
