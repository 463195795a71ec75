/** The page: a model hears the microphone or a recording, and shows what it hears. */

import { decode, microphoneAllowed, openMicrophone } from "./audio.js";
import { Classifier } from "./classifier.js";
import { Listener } from "./listener.js";
import { Model } from "./model.js";
import { row, Scores, Wave } from "./view.js";

/** @typedef {import("./detector.js").Event} Event */
/** @typedef {import("./listener.js").Description} Description */

const LIVE_SECONDS = 6; // of sound on the canvas
const BLOCK_SECONDS = 0.05; // of a recording
const PATIENCE_MS = 30; // between two pictures, while a recording is read
/** @type {Record<string, string>} */
const REFUSALS = {
  NotAllowedError: "The microphone was refused. Allow it in the browser's settings for this page.",
  NotFoundError: "There is no microphone. Connect one, or open a recording.",
};

class Page {
  #rate;
  #hearing;
  #scores;
  #wave;
  #verb;
  #events = byId("events", HTMLOListElement);
  #button = byId("microphone", HTMLButtonElement);
  #file = byId("file", HTMLInputElement);
  /** @type {(() => unknown) | undefined} ends the source that is open */
  #close;
  /** Each block is heard after the one before: a slow device falls behind, and loses none. */
  #pending = Promise.resolve();
  #received = 0; // seconds
  #busyMs = 0;

  /**
   * @param {Model} model
   * @param {Description} description
   */
  constructor(model, description) {
    const streams = model.signatures.includes("step");
    this.#rate = description.sample_rate;
    this.#hearing = new (streams ? Listener : Classifier)(model, description);
    this.#scores = new Scores(
      byId("scores", HTMLElement),
      description.labels,
      this.#hearing.thresholds,
    );
    this.#wave = new Wave(byId("wave", HTMLCanvasElement), this.#rate);
    this.#verb = streams ? "Start listening" : `Record ${this.#hearing.stepMs / 1000} s`;
    this.#button.onclick = () => this.#guard(this.#close ? this.#stop() : this.#listen());
    this.#file.onchange = () => this.#open(this.#file.files);
    globalThis.ondragover = (event) => event.preventDefault();
    globalThis.ondrop = (event) => {
      event.preventDefault();
      this.#open(event.dataTransfer?.files);
    };
    globalThis.onresize = this.#draw;
    byId("note", HTMLElement).hidden = microphoneAllowed;
    this.#idle("Ready");
  }

  async #listen() {
    this.#begin("Waiting for the microphone");
    const stop = () => this.#guard(this.#stop());
    const hear = async (/** @type {Float32Array} */ samples) => {
      await this.#hear(samples);
      if (this.#hearing.full) stop();
    };
    const onSamples = (/** @type {Float32Array} */ samples) => this.#guard(hear(samples));
    this.#run(await openMicrophone(this.#rate, onSamples, stop), "Listening");
  }

  /** @param {FileList | null | undefined} files */
  #open(files) {
    if (files?.length && !this.#file.disabled) this.#guard(this.#read(files[0]));
  }

  /** @param {File} file */
  async #read(file) {
    this.#begin(`Opening ${file.name}`);
    const samples = await decode(file, this.#rate);
    let reading = true;
    this.#run(() => (reading = false), `Reading ${file.name}`);
    const size = Math.ceil(this.#rate * BLOCK_SECONDS);
    let drawn = performance.now();
    for (let start = 0; reading && start < samples.length; start += size) {
      await this.#hear(samples.subarray(start, start + size));
      if (performance.now() - drawn < PATIENCE_MS) continue;
      await new Promise((resolve) => setTimeout(resolve));
      drawn = performance.now();
    }
    await this.#stop();
  }

  /**
   * Hear a block after all those before it.
   * @param {Float32Array} samples
   */
  #hear(samples) {
    this.#received += samples.length / this.#rate;
    this.#pending = this.#pending.then(async () => {
      this.#wave.add(samples);
      await this.#show(() => this.#hearing.feed(samples));
    });
    return this.#pending;
  }

  async #stop() {
    const close = this.#close;
    if (!close) return;
    this.#close = undefined;
    await close();
    await this.#pending;
    await this.#show(() => this.#hearing.finish());
    const heard = this.#events.childElementCount;
    this.#idle(`${heard || "Nothing"} heard in ${this.#wave.seconds.toFixed(1)} s`);
  }

  /** Forget what was before. @param {string} status */
  #begin(status) {
    this.#hearing.reset();
    this.#wave.reset();
    this.#events.replaceChildren();
    this.#pending = Promise.resolve();
    this.#received = this.#busyMs = 0;
    this.#button.disabled = this.#file.disabled = true;
    say(status);
  }

  /**
   * @param {() => unknown} close
   * @param {string} status
   */
  #run(close, status) {
    this.#close = close;
    this.#button.disabled = false;
    this.#label("Stop");
    say(status);
    this.#draw();
  }

  /** @param {string} status */
  #idle(status) {
    this.#button.disabled = !microphoneAllowed;
    this.#file.disabled = false;
    this.#file.value = ""; // so that the same file can be opened again
    this.#label(this.#verb);
    say(status);
    this.#draw();
  }

  /** @param {Promise<unknown>} work */
  #guard(work) {
    work.catch((error) => {
      this.#close?.();
      this.#close = undefined;
      this.#idle("");
      complain(error);
    });
  }

  /** Show what is heard, and see how long it takes. @param {() => Promise<Event[]>} hear */
  async #show(hear) {
    const begun = performance.now();
    const events = await hear();
    this.#busyMs += performance.now() - begun;
    this.#events.prepend(...events.map(row).reverse());
    this.#wave.mark(events);
  }

  /** @param {string} action */
  #label(action) {
    byId("action", HTMLElement).textContent = action;
    this.#button.classList.toggle("active", action === "Stop");
  }

  #draw = () => {
    const running = Boolean(this.#close);
    this.#scores.show(this.#hearing.scores);
    this.#wave.draw(running ? LIVE_SECONDS : Math.max(1, this.#wave.seconds));
    this.#button.style.setProperty("--level", String(running ? this.#wave.level : 0));
    byId("cost", HTMLElement).textContent = this.#cost();
    if (running) requestAnimationFrame(this.#draw);
  };

  /** How long the device takes for a step, and how late it is. */
  #cost() {
    const { steps, stepMs } = this.#hearing;
    if (!steps) return "";
    const late = this.#received - this.#wave.seconds;
    const cost = `${(this.#busyMs / steps).toFixed(2)} ms for ${stepMs} ms of sound`;
    return late > 0.2 ? `${cost}, ${late.toFixed(1)} s late` : cost;
  }
}

/**
 * @template {HTMLElement} Kind
 * @param {string} id
 * @param {new () => Kind} kind
 * @returns {Kind}
 */
function byId(id, kind) {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new Error(`The page must have a ${kind.name} ${id}.`);
}

/** @param {string} text */
function say(text) {
  const status = byId("status", HTMLElement);
  status.textContent = text;
  status.classList.remove("error");
}

/** @param {Error} error */
function complain(error) {
  console.warn(error);
  say(REFUSALS[error.name] ?? error.message);
  byId("status", HTMLElement).classList.add("error");
}

async function main() {
  const description = await (await fetch("model.json")).json();
  document.title = description.title;
  byId("title", HTMLElement).textContent = description.title;
  new Page(await Model.load("model.tflite"), description);
}

main().catch(complain);
