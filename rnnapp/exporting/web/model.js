/**
 * A .tflite file in LiteRT.js, run by signature and by name: the twin of `rnnapp.device.Model` and
 * `rnnapp.device.Stepper`.
 */

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

/** @typedef {import("@litertjs/core").TypedArray} Values */
/** @typedef {{name: string, shape: number[], dtype: string}} TensorInfo */

const NEXT = "next_";
const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };

// The build without relaxed SIMD: as fast for models of this size, it gives the same bits on every
// processor, and Safari runs it.
const RUNTIME = new URL("./litert/core/litert_wasm_compat_internal.js", import.meta.url).href;

/** @type {Promise<unknown> | undefined} */
let runtime;

/** A loaded model; `Model.load` makes it. */
export class Model {
  #compiled;

  /** @param {import("@litertjs/core").CompiledModel} compiled */
  constructor(compiled) {
    this.#compiled = compiled;
    this.signatures = Object.keys(compiled.signatures);
  }

  /**
   * @param {string | URL} url
   * @returns {Promise<Model>}
   */
  static async load(url) {
    runtime ??= loadRuntime();
    const [content] = await Promise.all([fetchBytes(url), runtime]);
    return new Model(await loadAndCompile(content, { accelerator: "wasm" }));
  }

  /**
   * @param {string} signature
   * @returns {TensorInfo[]}
   */
  inputs(signature) {
    return this.#runner(signature).getInputDetails().map(describe);
  }

  /**
   * @param {string} signature
   * @returns {TensorInfo[]}
   */
  outputs(signature) {
    return this.#runner(signature).getOutputDetails().map(describe);
  }

  /**
   * Run a signature once.
   * @param {string} signature
   * @param {Record<string, Values>} inputs
   * @returns {Promise<Record<string, Values>>} every output, by name
   */
  async run(signature, inputs) {
    const runner = this.#runner(signature);
    /** @type {Record<string, Tensor>} */
    const tensors = {};
    /** @type {Record<string, Tensor>} */
    let results = {};
    try {
      for (const { name, shape } of runner.getInputDetails()) {
        tensors[name] = new Tensor(inputs[name], shape);
      }
      results = await runner.run(tensors);
      return mapValues(results, (tensor) => tensor.toTypedArray());
    } finally {
      // They live in WebAssembly's memory, where nothing is collected.
      for (const tensor of Object.values({ ...tensors, ...results })) tensor.delete();
    }
  }

  /** @param {string} signature */
  #runner(signature) {
    const runner = this.#compiled.signatures[signature];
    if (!runner) {
      throw new Error(`The model must have the signature ${signature}. It has: ${this.signatures}`);
    }
    return runner;
  }
}

/**
 * Makes steps and keeps the states between them. A state is an input `NAME` with an output
 * `next_NAME`; every other input is data. States start as zeros.
 */
export class Stepper {
  #model;
  #signature;
  #stateInfos;
  /** @type {Record<string, Values>} */
  #states = {};

  /**
   * @param {Model} model
   * @param {string} [signature]
   */
  constructor(model, signature = "step") {
    this.#model = model;
    this.#signature = signature;
    const outputs = new Set(model.outputs(signature).map(({ name }) => name));
    /** @param {TensorInfo} info */
    const isState = ({ name }) => outputs.has(NEXT + name);
    this.#stateInfos = model.inputs(signature).filter(isState);
    this.inputs = model.inputs(signature).filter((info) => !isState(info));
    this.reset();
  }

  reset() {
    this.#states = Object.fromEntries(this.#stateInfos.map((info) => [info.name, zeros(info)]));
  }

  /**
   * @param {Record<string, Values>} data every data input, by name
   * @returns {Promise<Record<string, Values>>} every output, by name
   */
  async step(data) {
    const results = await this.#model.run(this.#signature, { ...this.#states, ...data });
    this.#states = mapValues(this.#states, (_, name) => results[NEXT + name]);
    return results;
  }
}

/** LiteRT.js, which can be loaded once only. */
function loadRuntime() {
  // It tells what it does on standard error, which is no error on a page.
  const printErr = (/** @type {string} */ line) =>
    /^(INFO|WARNING|VERBOSE):/.test(line) ? console.debug(line) : console.error(line);
  Object.assign(globalThis, { Module: { printErr } });
  return loadLiteRt(RUNTIME);
}

/** @param {string | URL} url */
async function fetchBytes(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: the server answers ${response.status}.`);
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * @param {import("@litertjs/core").TensorDetails} details
 * @returns {TensorInfo}
 */
function describe({ name, shape, dtype }) {
  return { name, shape: [...shape], dtype };
}

/** @param {TensorInfo} info */
function zeros({ shape, dtype }) {
  const size = shape.reduce((product, length) => product * length, 1);
  return new ARRAYS[/** @type {keyof typeof ARRAYS} */ (dtype)](size);
}

/**
 * @template From, To
 * @param {Record<string, From>} record
 * @param {(value: From, name: string) => To} change
 * @returns {Record<string, To>}
 */
function mapValues(record, change) {
  const entries = Object.entries(record).map(([name, value]) => [name, change(value, name)]);
  return Object.fromEntries(entries);
}
