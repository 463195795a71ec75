/** Passes on what the microphone hears, from the audio thread to the page's message queue. */
class Capture extends AudioWorkletProcessor {
  /** @param {Float32Array[][]} inputs */
  process([[channel]]) {
    if (channel) this.port.postMessage(channel.slice());
    return true;
  }
}

registerProcessor("capture", Capture);
