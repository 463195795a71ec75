/** What the page shows: a score for each label, loudness over time, and what was heard. */

/** @typedef {import("./detector.js").Event} Event */

const PEAKS_PER_SECOND = 50;
const COLUMN_PIXELS = 3;
const LABEL_PIXELS = 18;

/** A bar for each label, with a mark at its threshold. */
export class Scores {
  /** @type {HTMLElement[]} */
  #bars;

  /**
   * @param {HTMLElement} list
   * @param {string[]} labels
   * @param {number[]} thresholds infinite where there is none
   */
  constructor(list, labels, thresholds) {
    this.#bars = labels.map((label, i) => bar(label, thresholds[i]));
    list.replaceChildren(...this.#bars);
  }

  /** @param {ArrayLike<number>} scores */
  show(scores) {
    this.#bars.forEach((item, i) => {
      item.style.setProperty("--score", scores[i].toFixed(4));
      item.ariaValueNow = scores[i].toFixed(4);
    });
  }
}

/** Loudness over time, with a mark at each event. */
export class Wave {
  #canvas;
  #peakSamples;
  #filled = 0;
  /** @type {number[]} */
  #peaks = [];
  /** @type {Event[]} */
  #events = [];

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {number} sampleRate
   */
  constructor(canvas, sampleRate) {
    this.#canvas = canvas;
    this.#peakSamples = sampleRate / PEAKS_PER_SECOND;
    this.reset();
  }

  reset() {
    this.#peaks = [0];
    this.#events = [];
    this.#filled = 0;
  }

  /** Seconds of sound so far. */
  get seconds() {
    return (this.#peaks.length - 1 + this.#filled / this.#peakSamples) / PEAKS_PER_SECOND;
  }

  /** How loud it is now, from 0 to 1. */
  get level() {
    return Math.min(1, Math.max(...this.#peaks.slice(-3)));
  }

  /** @param {Event[]} events */
  mark(events) {
    this.#events.push(...events);
  }

  /** @param {Float32Array} samples */
  add(samples) {
    for (const sample of samples) {
      const last = this.#peaks.length - 1;
      this.#peaks[last] = Math.max(this.#peaks[last], Math.abs(sample));
      if (++this.#filled < this.#peakSamples) continue;
      this.#filled -= this.#peakSamples;
      this.#peaks.push(0);
    }
  }

  /** @param {number} span seconds that fill the canvas; of longer sound, the end is shown */
  draw(span) {
    const { context, width, height } = cleared(this.#canvas);
    const columns = Math.floor(width / COLUMN_PIXELS);
    const columnSeconds = span / columns;
    // Whole columns, lest peaks change theirs, and flicker, as the picture moves on.
    const first = Math.ceil(Math.max(0, this.seconds - span) / columnSeconds);
    const colours = getComputedStyle(this.#canvas);
    context.fillStyle = colours.getPropertyValue("--wave");
    for (let column = 0; column < columns; column++) {
      const loudness = Math.sqrt(this.#peakOf((first + column) * columnSeconds, columnSeconds));
      const tall = Math.max(1, loudness * (height - LABEL_PIXELS));
      context.fillRect(column * COLUMN_PIXELS, (height + LABEL_PIXELS - tall) / 2, 2, tall);
    }
    context.fillStyle = colours.getPropertyValue("--accent");
    context.font = `600 12px ${colours.fontFamily}`;
    for (const { label, time_s } of this.#events) {
      const x = (time_s / columnSeconds - first) * COLUMN_PIXELS;
      context.fillRect(x, 0, 1.5, height);
      const fits = x + 5 + context.measureText(label).width < width;
      context.textAlign = fits ? "left" : "right";
      context.fillText(label, fits ? x + 5 : x - 5, 11);
    }
  }

  /**
   * @param {number} from in seconds
   * @param {number} seconds
   */
  #peakOf(from, seconds) {
    const begin = Math.floor(from * PEAKS_PER_SECOND);
    const end = Math.max(begin + 1, Math.floor((from + seconds) * PEAKS_PER_SECOND));
    return Math.min(1, Math.max(0, ...this.#peaks.slice(begin, end)));
  }
}

/**
 * A row of the list of what was heard.
 * @param {Event} event
 */
export function row({ label, time_s, probability }) {
  const time = element("time", `${time_s.toFixed(2)} s`);
  time.dateTime = `PT${time_s}S`;
  const data = element("data", probability.toFixed(2));
  data.value = String(probability);
  const item = element("li");
  item.append(time, element("strong", label), data);
  return item;
}

/**
 * @param {string} label
 * @param {number} threshold
 */
function bar(label, threshold) {
  const item = element("div", label);
  item.role = "meter";
  item.ariaLabel = label;
  item.ariaValueMin = "0";
  item.ariaValueMax = "1";
  if (Number.isFinite(threshold)) item.style.setProperty("--threshold", String(threshold));
  else item.classList.add("background");
  return item;
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {string} [text]
 */
function element(tag, text = "") {
  return Object.assign(document.createElement(tag), { textContent: text });
}

/**
 * An empty canvas, as sharp as the screen, to be drawn on in CSS pixels.
 * @param {HTMLCanvasElement} canvas
 */
function cleared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * devicePixelRatio;
  canvas.height = height * devicePixelRatio;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.scale(devicePixelRatio, devicePixelRatio);
  return { context, width, height };
}
