/**
 * Change the sample rate of a stream: the twin of `rnnapp.device.resampling.SincResampler`.
 *
 * Smith and Gossett, "A flexible sampling-rate conversion method", ICASSP 1984.
 */

const ZERO_CROSSINGS = 32; // of the sinc, on each side
const KAISER_BETA = 8; // side lobes near -80 dB
const ROLL_OFF = 0.92; // cutoff as a part of the lower Nyquist frequency

export class Resampler {
  #phases;
  #stride;
  #taps;
  #width;
  #buffer;
  #position = 0; // of the next output's window in the buffer, in 1/phases of a sample

  /**
   * @param {number} sourceRate
   * @param {number} targetRate
   */
  constructor(sourceRate, targetRate) {
    const divisor = greatestCommonDivisor(sourceRate, targetRate);
    this.#phases = targetRate / divisor;
    this.#stride = sourceRate / divisor;
    const cutoff = ROLL_OFF * Math.min(1, targetRate / sourceRate);
    const half = Math.ceil(ZERO_CROSSINGS / cutoff);
    this.#width = 2 * half;
    this.#taps = Array.from({ length: this.#phases }, (_, phase) =>
      filter(phase / this.#phases, half, cutoff),
    );
    this.#buffer = new Float32Array(half - 1); // so that the output begins with the input
  }

  /**
   * Take the next samples of the stream.
   * @param {Float32Array} samples
   * @returns {Float32Array} what is ready at the other rate
   */
  feed(samples) {
    const buffer = new Float32Array(this.#buffer.length + samples.length);
    buffer.set(this.#buffer);
    buffer.set(samples, this.#buffer.length);
    const end = Math.max(0, buffer.length - this.#width + 1) * this.#phases;
    const resampled = new Float32Array(Math.ceil(Math.max(0, end - this.#position) / this.#stride));
    for (let i = 0; i < resampled.length; i++, this.#position += this.#stride) {
      const start = Math.floor(this.#position / this.#phases);
      const taps = this.#taps[this.#position % this.#phases];
      let sum = 0;
      for (let j = 0; j < this.#width; j++) sum += buffer[start + j] * taps[j];
      resampled[i] = sum;
    }
    const drop = Math.min(Math.floor(this.#position / this.#phases), buffer.length);
    this.#buffer = buffer.slice(drop);
    this.#position -= drop * this.#phases;
    return resampled;
  }
}

/**
 * The filter for a fraction of a source sample, of sum 1.
 * @param {number} fraction
 * @param {number} half
 * @param {number} cutoff
 */
function filter(fraction, half, cutoff) {
  const taps = Float64Array.from({ length: 2 * half }, (_, place) => {
    const time = place + 1 - half - fraction;
    return (
      sinc(cutoff * time) * bessel(KAISER_BETA * Math.sqrt(Math.max(0, 1 - (time / half) ** 2)))
    );
  });
  const sum = taps.reduce((total, tap) => total + tap, 0);
  return Float32Array.from(taps, (tap) => tap / sum);
}

/** @param {number} x */
function sinc(x) {
  return x ? Math.sin(Math.PI * x) / (Math.PI * x) : 1;
}

/** The modified Bessel function of order 0, by its power series. @param {number} x */
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
function greatestCommonDivisor(a, b) {
  return b ? greatestCommonDivisor(b, a % b) : a;
}
