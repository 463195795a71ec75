/** Audio at the model's rate: from the microphone, block by block, or from a file. */

import { Resampler } from "./resampler.js";

/** Whether the browser lets this page ask for the microphone: over https and on localhost only. */
export const microphoneAllowed = Boolean(globalThis.navigator?.mediaDevices?.getUserMedia);

/**
 * @param {number} sampleRate
 * @param {(samples: Float32Array) => void} onSamples called with every block, in order
 * @param {() => void} onEnd called when the microphone is unplugged or taken away
 * @returns {Promise<() => Promise<void>>} closes it
 */
export async function openMicrophone(sampleRate, onSamples, onEnd) {
  // Browsers shape speech for calls; models are trained on what a plain microphone hears.
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, ...plain },
  });
  const [track] = stream.getAudioTracks();
  track.onended = onEnd;
  /** @type {AudioContext | undefined} */
  let context;
  const close = async () => {
    track.stop();
    await context?.close();
  };
  try {
    const source = openSource(stream, sampleRate);
    context = /** @type {AudioContext} */ (source.context);
    await context.audioWorklet.addModule(new URL("./capture.js", import.meta.url));
    const capture = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    capture.port.onmessage = resampled(context.sampleRate, sampleRate, onSamples);
    source.connect(capture);
    await context.resume(); // it may have begun suspended, while the user was asked
    return async () => {
      await close();
      capture.port.onmessage = null; // none comes late, into another stream
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Decode a file and mix it down.
 * @param {File} file anything that the browser decodes
 * @param {number} sampleRate
 * @returns {Promise<Float32Array>}
 */
export async function decode(file, sampleRate) {
  const context = new OfflineAudioContext(1, 1, sampleRate); // which decodes to its own rate
  const audio = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Error(`${file.name} must be audio that this browser decodes, such as WAV or MP3.`);
  });
  const mono = new Float32Array(audio.length);
  for (let channel = 0; channel < audio.numberOfChannels; channel++) {
    const samples = audio.getChannelData(channel);
    for (let i = 0; i < mono.length; i++) mono[i] += samples[i] / audio.numberOfChannels;
  }
  // A recurrent state would never recover from NaN.
  if (!mono.every(Number.isFinite)) throw new Error(`${file.name} must hold finite samples.`);
  return mono;
}

/**
 * A source at the model's rate, or at the microphone's own where the browser does not convert it.
 * @param {MediaStream} stream
 * @param {number} sampleRate
 */
function openSource(stream, sampleRate) {
  try {
    return sourceIn(new AudioContext({ sampleRate }), stream);
  } catch {
    return sourceIn(new AudioContext(), stream);
  }
}

/**
 * @param {AudioContext} context
 * @param {MediaStream} stream
 */
function sourceIn(context, stream) {
  try {
    return context.createMediaStreamSource(stream);
  } catch (error) {
    context.close();
    throw error;
  }
}

/**
 * @param {number} sourceRate
 * @param {number} targetRate
 * @param {(samples: Float32Array) => void} onSamples
 * @returns {(message: MessageEvent<Float32Array>) => void}
 */
function resampled(sourceRate, targetRate, onSamples) {
  if (sourceRate === targetRate) return ({ data }) => onSamples(data);
  const resampler = new Resampler(sourceRate, targetRate);
  return ({ data }) => onSamples(resampler.feed(data));
}
