// Page of the proof of work: starts the worker that computes, shows how far it is, and sends its result.
"use strict";
const form = document.querySelector("#work");
const bar = document.querySelector("#progress");
const state = document.querySelector("#state");
const { nonce, rounds, memory, passes, bytes, bits } = form.dataset;
const failed = () => {
  state.textContent = "Your browser cannot do this work. Go back, and choose another way to get the stamp.";
};
try {
  const worker = new Worker("/static/work-worker.js");
  const started = performance.now();
  worker.addEventListener("error", failed);
  worker.addEventListener("message", ({ data }) => {
    if (data.failed) return failed();
    if (data.proof) {
      state.textContent = "Done. The stamp is on its way.";
      form.elements.proof.value = data.proof;
      return form.submit();
    }
    bar.value = data.done;
    const left = Math.ceil(((performance.now() - started) / data.done) * (rounds - data.done) / 1000);
    state.textContent = `Working: ${data.done} of ${rounds}, about ${left} ${left === 1 ? "second" : "seconds"} left.`;
  });
  worker.postMessage({
    nonce, rounds: Number(rounds), memory: Number(memory), passes: Number(passes), bytes: Number(bytes), bits: Number(bits),
  });
  state.textContent = "Working: please keep this page open.";
} catch {
  failed();
}
