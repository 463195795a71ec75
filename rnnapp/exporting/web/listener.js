/** Hear words in audio of any length: the twin of `rnnapp.device.Listener`. */

import { Detector } from "./detector.js";
import { Stepper } from "./model.js";

/** @typedef {import("./detector.js").Event} Event */
/**
 * @typedef {object} Description what `model.json` tells of a model
 * @property {string} title
 * @property {string[]} labels
 * @property {number} sample_rate
 * @property {import("./detector.js").Options} detector
 */

export class Listener {
  /** Whether it has heard all that it can take; a stream never ends. */
  full = false;
  #stepper;
  #detector;
  #input;
  #samples;
  #filled = 0;

  /**
   * @param {import("./model.js").Model} model with the signature `step`
   * @param {Description} description
   */
  constructor(model, { labels, sample_rate, detector }) {
    this.#stepper = new Stepper(model);
    const [{ name, shape }] = this.#stepper.inputs;
    this.#input = name;
    this.#samples = new Float32Array(shape[1]);
    this.stepMs = (1000 * shape[1]) / sample_rate;
    this.#detector = new Detector(labels, this.stepMs, detector);
    this.thresholds = this.#detector.thresholds;
  }

  /** Steps that were made. */
  get steps() {
    return this.#detector.steps;
  }

  /** The smoothed probability of each label: what the thresholds are held against. */
  get scores() {
    return this.#detector.smoothed;
  }

  reset() {
    this.#stepper.reset();
    this.#detector.reset();
    this.#filled = 0;
  }

  /**
   * Hear the next samples; what is shorter than a step waits for more.
   * @param {Float32Array} samples one channel at the model's rate
   * @returns {Promise<Event[]>}
   */
  async feed(samples) {
    const events = [];
    for (let start = 0; start < samples.length; ) {
      const part = samples.subarray(start, start + this.#samples.length - this.#filled);
      this.#samples.set(part, this.#filled);
      this.#filled += part.length;
      start += part.length;
      if (this.#filled < this.#samples.length) break;
      this.#filled = 0;
      const { probabilities } = await this.#stepper.step({ [this.#input]: this.#samples });
      const event = this.#detector.update(probabilities);
      if (event) events.push(event);
    }
    return events;
  }

  /** A stream has nothing to add when it ends. @returns {Promise<Event[]>} */
  async finish() {
    return [];
  }
}
